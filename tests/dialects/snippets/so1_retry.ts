async function retryFailedExecution(
executionId: string,
maxRetries: number = 3
): Promise<string> {
for (let attempt = 0; attempt < maxRetries; attempt++) {
const response = await fetch(
`https://api.so1.io/v1/n8n/executions/${executionId}/retry`,
{
method: 'POST',
headers: { 'Authorization': `Bearer ${API_KEY}` }
}
);
const { data } = await response.json();
const result = await waitForWorkflowCompletion(data.executionId);
if (result.success) {
return data.executionId;
}
// Exponential backoff before next retry
const delay = Math.pow(2, attempt) * 1000;
await new Promise(resolve => setTimeout(resolve, delay));
}
throw new Error('Max retries exceeded');
}
