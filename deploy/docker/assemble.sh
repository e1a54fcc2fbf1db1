#!/bin/sh
# Puts together the root file system of the image: assemble.sh INSTALLED ROOT.
# INSTALLED holds the sources with their node_modules, at the path that it will have in the image; ROOT is made.
set -eu
installed=$1
root=$2

mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root$installed" "$root/tmp" "$root/var/lib/berth"

# Without its symbols Node.js is a quarter smaller. The headers that come with it are for building add-ons.
# The package that fits this machine is the only one that npm installs.
node=$(ls "$installed"/node_modules/node-*/bin/node)
strip --strip-unneeded -o "$root/usr/local/bin/node" "$node"
chmod 0755 "$root/usr/local/bin/node"

# The libraries that it names, and the loader, at the paths where the loader looks.
ldd "$node" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) .*/\1/p' | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
# Names are looked up by the C library, which loads these by name.
for library in libnss_files.so.2 libnss_dns.so.2 libresolv.so.2; do
  path=$(ldconfig -p | sed -n "s/.*$library .*=> //p" | head -n 1)
  mkdir -p "$root$(dirname "$path")"
  cp -L "$path" "$root$path"
done
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'berth:x:65532:65532:berth:/var/lib/berth:/' > "$root/etc/passwd"
echo 'berth:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"

cp -R "$installed/package.json" "$installed/apps" "$installed/packages" "$installed/node_modules" "$root$installed/"
rm -rf "$root$installed"/node_modules/node-* "$root$installed"/node_modules/.bin
# What nobody reads at run time.
find "$root$installed/node_modules" \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -iname '*.md' -o -iname 'changelog*' \) -type f -delete
find "$root$installed/node_modules" -type d \( -name test -o -name tests -o -name benchmark -o -name benchmarks \) -prune -exec rm -rf {} +

# Node.js keeps compiled code by path and by user, so it is made where it will lie and by whom it will be used; afterwards nobody can change
# it. `chroot` proves at the same time that nothing is missing.
cp "$(dirname "$0")/warm.mjs" "$root/tmp/warm.mjs"
chmod 1777 "$root/tmp"
cache=$root$installed/node_modules/.cache
mkdir -p "$cache"
chown -R 65532:65532 "$cache"
chroot --userspec=65532:65532 "$root" /usr/local/bin/node --max-semi-space-size=4 /tmp/warm.mjs "$installed"
[ -n "$(find "$cache" -type f | head -n 1)" ] || { echo "the compile cache stayed empty" >&2; exit 1; }
chown -R 0:0 "$cache"
chmod -R a+rX,go-w "$cache"
rm "$root/tmp/warm.mjs"

chown -R 65532:65532 "$root/var/lib/berth"
chmod 0700 "$root/var/lib/berth"
