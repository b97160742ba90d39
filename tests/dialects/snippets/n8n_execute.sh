curl -X POST https://your-n8n-instance.com/api/v1/workflows/{workflowId}/execute \
  -H "X-N8N-API-KEY: your-api-key" \
  -H "Content-Type: application/json"
