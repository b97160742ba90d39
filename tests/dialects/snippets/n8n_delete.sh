curl -X POST \
  -H "X-N8N-API-KEY: your-api-key" \
  -H "Content-Type: application/json" \
  -d '{
    "ids": ["exec_123", "exec_456", "exec_789"]
  }' \
  https://your-n8n-instance.com/api/v1/executions/delete
