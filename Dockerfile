# The image of Headgate: the program, the four libraries it is linked with, and the roots of trust, in nothing else.
# Debian's C library rather than musl's: its memory functions and its resolver are those that the program is measured
# with. They are copied from where the program was linked, so that they fit it, on amd64 and on arm64.
#
#   docker build -t headgate:dev .

# Debian; Rust as Cargo.toml's rust-version or newer. rust-toolchain.toml is not copied: rustup would fetch another one.
ARG BUILDER=rust:1-bookworm
FROM ${BUILDER} AS build
WORKDIR /build
ENV CARGO_TERM_COLOR=never CARGO_TARGET_DIR=/build/target

# The dependencies are most of the work: a layer of their own, built again only when the lock file changes. What is
# known of the empty program goes, or a source that is older than it would count as built.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
 && touch src/lib.rs \
 && echo 'fn main() {}' > src/main.rs \
 && cargo build --release --locked \
 && rm -r src target/release/headgate target/release/.fingerprint/headgate-*

COPY src src
RUN cargo build --release --locked

# The root of the image, and a try of it: the program starts there, so no library is missing.
COPY LICENSE-APACHE LICENSE-MIT ./
RUN root=/root-of-image \
 && mkdir -p $root/etc/ssl/certs $root/usr/share/doc/headgate \
 && cp target/release/headgate $root/headgate \
 && ldd target/release/headgate | grep -o '/[^ ]*' | xargs cp -L --parents -t $root \
 && cp /etc/ssl/certs/ca-certificates.crt $root/etc/ssl/certs/ \
 && echo 'hosts: files dns' > $root/etc/nsswitch.conf \
 && echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > $root/etc/passwd \
 && echo 'nonroot:x:65532:' > $root/etc/group \
 && cp LICENSE-APACHE LICENSE-MIT $root/usr/share/doc/headgate/ \
 && for package in libc6 libgcc-s1 ca-certificates; do \
      mkdir $root/usr/share/doc/$package \
   && cp -L /usr/share/doc/$package/copyright $root/usr/share/doc/$package/; \
    done \
 && chroot --userspec=65532:65532 $root /headgate --version

FROM scratch
LABEL org.opencontainers.image.title="Headgate" \
      org.opencontainers.image.description="HTTP ingress controller and reverse proxy for Kubernetes" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /root-of-image/ /
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# web, websecure, and --health as deploy/ sets it.
EXPOSE 8080 8443 9001
ENTRYPOINT ["/headgate"]
CMD ["run"]
