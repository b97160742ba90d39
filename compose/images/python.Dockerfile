# Debian's Python, in place of the image `python`.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq --no-install-recommends python3 python3-venv && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
# Its own list of whom to trust ends with Debian's package; pip brings another one.
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
