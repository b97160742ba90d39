const thirtyDaysAgo = new Date();
thirtyDaysAgo.setDate(thirtyDaysAgo.getDate() - 30);

// Fetch old executions
const response = await fetch(
  'https://your-n8n-instance.com/api/v1/executions?limit=100',
  { headers: { 'X-N8N-API-KEY': 'your-api-key' } }
);

const { data } = await response.json();

// Filter executions older than 30 days
const oldExecutionIds = data
  .filter(exec => new Date(exec.startedAt) < thirtyDaysAgo)
  .map(exec => exec.id);

if (oldExecutionIds.length > 0) {
  // Delete in batches
  await fetch(
    'https://your-n8n-instance.com/api/v1/executions/delete',
    {
      method: 'POST',
      headers: {
        'X-N8N-API-KEY': 'your-api-key',
        'Content-Type': 'application/json'
      },
      body: JSON.stringify({ ids: oldExecutionIds })
    }
  );
  
  console.log(`Deleted ${oldExecutionIds.length} old executions`);
}
