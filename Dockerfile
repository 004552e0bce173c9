# One image, and every role in it:
#
#   docker build -t waybill .
#   docker run --rm waybill --help
#
# What is alive tells `waybill probe http://127.0.0.1:8081/readyz`: the image cannot know which
# role it runs, so compose.yaml asks.

# The version of rust-toolchain.toml; a test compares the two.
FROM rust:1.95.0-slim-trixie AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends libssl-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Tables of lines are no use where no debugger is; names of functions stay.
ENV CARGO_PROFILE_RELEASE_DEBUG=none
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p waybill \
    && cp target/release/waybill /usr/local/bin/

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3t64 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/waybill /usr/local/bin/
# Nobody: Waybill writes no files, and a number can be checked before the image is looked into.
USER 65534:65534
EXPOSE 8081 8082
ENTRYPOINT ["waybill"]
CMD ["--help"]
