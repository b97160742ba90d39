curl -X PATCH \
  -H "X-N8N-API-KEY: your-api-key" \
  -H "Content-Type: application/json" \
  -d '{
    "annotation": {
      "tags": ["tag_production", "tag_urgent"],
      "vote": "up"
    }
  }' \
  https://your-n8n-instance.com/api/v1/executions/exec_123
