curl -X POST \
  -H "X-N8N-API-KEY: your-api-key" \
  -H "Content-Type: application/json" \
  -d '{"loadWorkflow": false}' \
  https://your-n8n-instance.com/api/v1/executions/exec_123/retry
