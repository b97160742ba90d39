# Kafka from its jars and Debian's Java, in place of the image `apache/kafka`, as far as compose/ makes use of it.
ARG BASE
FROM ${BASE}
RUN mkdir -p /usr/share/man/man1 && apt-get update -qq && \
    apt-get install -qq --no-install-recommends openjdk-17-jre-headless && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
COPY jars /opt/kafka/libs
COPY kafka.start.sh /opt/kafka/start.sh
RUN useradd --uid 1000 appuser && mkdir -p /var/lib/kafka/data && chown appuser /var/lib/kafka/data
USER appuser
EXPOSE 9092
STOPSIGNAL SIGTERM
CMD ["bash", "/opt/kafka/start.sh"]
