curl -X POST https://api.so1.io/v1/n8n/workflows/deploy-notification/execute \
-H "Authorization: Bearer so1_key_abc123xyz" \
-H "Content-Type: application/json" \
-d '{
"data": {
"service": "api-gateway",
"environment": "production",
"version": "v2.4.1"
},
"mode": "async"
}'
