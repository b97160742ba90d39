# Debian's nginx, in place of the image `nginx`.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq && apt-get install -qq --no-install-recommends nginx-light && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
