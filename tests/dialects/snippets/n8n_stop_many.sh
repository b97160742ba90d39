curl -X POST \
  -H "X-N8N-API-KEY: your-api-key" \
  -H "Content-Type: application/json" \
  -d '{
    "filter": {
      "workflowId": "workflow_abc",
      "status": ["running", "waiting"]
    }
  }' \
  https://your-n8n-instance.com/api/v1/executions/stopMany
