# Debian's PostgreSQL, in place of the image `postgres`, as far as compose/ makes use of it.
ARG BASE
FROM ${BASE}
RUN mkdir -p /usr/share/man/man1 /usr/share/man/man7 /etc/postgresql-common && \
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf && \
    apt-get update -qq && apt-get install -qq --no-install-recommends postgresql && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin && \
    ln -s /usr/lib/postgresql/*/bin /opt/postgresql && mkdir -p /var/lib/postgresql/data && \
    chown postgres:postgres /var/lib/postgresql/data
COPY postgres.start.sh /opt/start.sh
ENV PATH=/opt/postgresql:$PATH PGDATA=/var/lib/postgresql/data/pgdata
USER postgres
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/opt/start.sh"]
