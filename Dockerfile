# One static binary and the public certificate authorities: no shell, no libc, nothing to update but the agent.
#   make image                                      for this machine
#   make image PLATFORMS=linux/amd64,linux/arm64    for both, by docker buildx
#
# Works with BuildKit and with the builder before it, which knows no BUILDPLATFORM, TARGETOS and TARGETARCH: empty means this machine's.

# The compiler runs on the machine that builds, whatever it builds for: Go needs no emulator.
FROM --platform=${BUILDPLATFORM:-linux} golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
# The same source, version and Go give the same bytes, on whatever machine: no paths, no build id, no time stamps.
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=${VERSION}" -o /agent ./cmd/agent && mkdir /empty

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="ordinal-agent" \
      org.opencontainers.image.description="Replicated MySQL from a plain StatefulSet: init container and sidecar" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /agent /agent
# Volumes that Docker makes get the owner of the folder at which they are mounted first. In Kubernetes fsGroup does that.
COPY --from=build --chown=999:999 /empty /var/lib/mysql
COPY --from=build --chown=999:999 /empty /etc/mysql/conf.d
COPY --from=build --chown=999:999 /empty /var/run/mysqld
COPY --from=build --chown=999:999 /empty /backups
# mysql:mysql in the stock image: agent and mysqld share the volume.
USER 999:999
# 3307 data plane (mutual TLS), 8080 status plane (plain, no data)
EXPOSE 3307 8080
ENTRYPOINT ["/agent"]
