async function waitForWorkflowCompletion(executionId: string): Promise<any> {
const maxAttempts = 60; // 5 minutes
for (let attempt = 0; attempt < maxAttempts; attempt++) {
const response = await fetch(
`https://api.so1.io/v1/n8n/executions/${executionId}`,
{ headers: { 'Authorization': `Bearer ${API_KEY}` } }
);
const { data } = await response.json();
if (data.status === 'success') {
return data.result;
} else if (data.status === 'error') {
throw new Error(data.error.message);
}
await new Promise(resolve => setTimeout(resolve, 5000));
}
throw new Error('Workflow timeout');
}
