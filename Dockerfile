# The image is one file: the static binary. No shell, no libc, no package to patch, nothing to write to.
#
#   docker build -t redis-ambassador:0.1.0 .          (podman: add --format docker, or HEALTHCHECK is dropped)
#   docker run --rm --network container:my-app redis-ambassador:0.1.0 --master redis-master:6379
#
# As an own container on a network (rather than in the application's network namespace) add
# --listen 0.0.0.0:6379, because by default only loopback is listened on.

FROM docker.io/library/rust:1.95-slim-bookworm AS build
# `true` builds from crates that were put into $CARGO_HOME/registry beforehand, without a network.
ARG CARGO_NET_OFFLINE=false
WORKDIR /src
COPY . .
# +crt-static links glibc into the binary. Since glibc 2.34 its resolvers for /etc/hosts and DNS are part of
# libc itself rather than plug-ins loaded at run time, so names resolve in an image without any library or
# /etc/nsswitch.conf (scripts/image-test proves it). The triple is named because only then do RUSTFLAGS leave
# proc macros and build scripts alone, which cannot be static; it is asked for so that arm64 builds as well.
# Line tables, for the stack trace of a bug report, are more than half of the binary: they stay, compressed.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --bin redis-ambassador --target "$target" \
 && mkdir /out \
 && objcopy --compress-debug-sections=zlib "target/$target/release/redis-ambassador" /out/redis-ambassador

FROM scratch
COPY --from=build /out/redis-ambassador /redis-ambassador
# By number: there is no /etc/passwd to look a name up in, and Kubernetes' runAsNonRoot asks for a number.
USER 65532:65532
# 6379 applications, 9121 admin (/live, /ready, /metrics, /topology).
EXPOSE 6379 9121
# `health` asks the admin listener's /ready; for docker and podman only, Kubernetes has probes of its own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/redis-ambassador", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/redis-ambassador"]
