# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /src

# The dependencies, as a layer of their own: it is built anew only when a manifest changes, not with every edit.
COPY Cargo.toml Cargo.lock ./
COPY migrations/Cargo.toml migrations/
COPY tests/kit/Cargo.toml tests/kit/
RUN mkdir -p src migrations/src tests/kit/src \
    && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs migrations/src/lib.rs tests/kit/src/lib.rs \
    && cargo build --release --locked --bin chat-gateway

COPY migrations migrations
COPY src src
COPY API.md ./
# Cargo goes by time stamps, and those of a checkout may be older than the stand-ins'.
RUN find src migrations -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin chat-gateway \
    && mkdir /data

# No shell, no package manager: the C library, CA certificates and the binary.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="chat-gateway" \
      org.opencontainers.image.description="Chat over WebSockets: many identical replicas, or one alone" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /src/target/release/chat-gateway /usr/local/bin/chat-gateway
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
ENV DATA_DIR=/data LOG_FORMAT=json
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/usr/local/bin/chat-gateway", "health"]
ENTRYPOINT ["/usr/local/bin/chat-gateway"]
