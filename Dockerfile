# syntax=docker/dockerfile:1

# Everything is compiled on the builder's own platform, for whichever is asked for: emulated, the release build would take an hour.
FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS compiler
WORKDIR /src
# Writes the crates and their versions into the program, where scanners and SBOMs of images look for them.
RUN cargo install cargo-auditable --version 0.7.7 --locked

FROM compiler AS for-amd64
ENV CARGO_BUILD_TARGET=x86_64-unknown-linux-gnu \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc
ENV CROSS="gcc-x86-64-linux-gnu libc6-dev-amd64-cross"

FROM compiler AS for-arm64
ENV CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
ENV CROSS="gcc-aarch64-linux-gnu libc6-dev-arm64-cross"

FROM for-${TARGETARCH} AS build
# The C compiler of the builder's own platform is here already.
RUN command -v "${CARGO_BUILD_TARGET%-unknown-*}-linux-gnu-gcc" \
    || { apt-get update && apt-get install --yes --no-install-recommends $CROSS && rm -rf /var/lib/apt/lists/*; }
RUN rustup target add "$CARGO_BUILD_TARGET"

# The dependencies, as a layer of their own: it is built anew only when a manifest changes, not with every edit.
COPY Cargo.toml Cargo.lock ./
COPY migrations/Cargo.toml migrations/
COPY tests/kit/Cargo.toml tests/kit/
RUN mkdir -p src migrations/src tests/kit/src \
    && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs migrations/src/lib.rs tests/kit/src/lib.rs \
    && cargo auditable build --release --locked --bin chat-gateway

COPY migrations migrations
COPY src src
COPY API.md ./
# Cargo goes by time stamps, and those of a checkout may be older than the stand-ins'.
RUN find src migrations -name '*.rs' -exec touch {} + \
    && cargo auditable build --release --locked --bin chat-gateway \
    && cp "target/$CARGO_BUILD_TARGET/release/chat-gateway" /chat-gateway \
    && mkdir --mode=0770 /data

# No shell, no package manager: the C library, CA certificates and the program. Nothing is run on the image's own platform.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="chat-gateway" \
      org.opencontainers.image.description="Chat over WebSockets: many identical replicas, or one alone" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build /chat-gateway /usr/local/bin/chat-gateway
# Of the group 0 too: OpenShift gives users that it makes up, all of that group.
COPY --from=build --chown=65532:0 /data /data
USER 65532:65532
ENV DATA_DIR=/data LOG_FORMAT=json
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/usr/local/bin/chat-gateway", "health"]
ENTRYPOINT ["/usr/local/bin/chat-gateway"]
