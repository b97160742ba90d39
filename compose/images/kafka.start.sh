#!/bin/bash
# Starts a node of Kafka by its environment, as the project's own image does: KAFKA_NODE_ID is node.id, and so on;
# CLUSTER_ID formats a new data folder. KAFKA_HEAP_OPTS and KAFKA_OPTS are the JVM's.
set -euo pipefail
properties=/tmp/server.properties

# A _ is a dot, __ an underscore, ___ a hyphen.
env | grep '^KAFKA_' | grep -vE '^KAFKA_(HEAP_OPTS|OPTS|VERSION)=' | while IFS='=' read -r name value; do
    echo "$(sed -e 's/^KAFKA_//' -e 's/___/-/g' -e 's/__/%/g' -e 's/_/./g' -e 's/%/_/g' <<<"${name}" | tr '[:upper:]' '[:lower:]')=$value"
done >"$properties"

kafka=(java ${KAFKA_HEAP_OPTS:--Xmx512m} ${KAFKA_OPTS:-} -Djava.awt.headless=true
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info
    -cp '/opt/kafka/libs/*')
"${kafka[@]}" kafka.tools.StorageTool format --ignore-formatted --cluster-id "$CLUSTER_ID" --config "$properties"
exec "${kafka[@]}" kafka.Kafka "$properties"
