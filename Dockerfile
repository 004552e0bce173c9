# One image for all roles:
#
#   docker build -t waybill .
#   docker run --rm waybill --help
#
# The image has no health check, because it does not know which role it runs. compose.yaml defines
# one for each service: `waybill probe http://127.0.0.1:8081/readyz`.

# The version is that of rust-toolchain.toml; a test compares the two.
# librdkafka is built from source and needs g++, which the slim image does not contain.
FROM rust:1.95.0-slim-trixie AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Omits line tables, which only a debugger uses; the names of functions stay.
ENV CARGO_PROFILE_RELEASE_DEBUG=none
# Cargo compares the times of files with the time of the last build, which may have had an older copy
# of a file that was edited in the meantime. New times make it compile the crates of the repository.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    find crates -type f -exec touch {} + \
    && cargo build --release --locked -p waybill \
    && cp target/release/waybill /usr/local/bin/

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3t64 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/waybill /usr/local/bin/
# The user nobody, because Waybill writes no files. It is given as a number, so that an orchestrator
# can check without the image that it is not root.
USER 65534:65534
EXPOSE 8081 8082
ENTRYPOINT ["waybill"]
CMD ["--help"]
