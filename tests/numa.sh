#!/usr/bin/env bash
# Two memory nodes of two processors each (make test-numa): Debian's kernel under qemu-system-x86_64, which needs no root
# and no virtualization. Threads are tied to both nodes, weights lie in the node that reads them, logits are the same.
# What emulated memory cannot show is speed.
. tests/e2e/lib.sh.inc
for tool in qemu-system-x86_64 cpio busybox apt-get; do
    command -v $tool >/dev/null || { skip "memory nodes" "no $tool (apt-get install qemu-system-x86 cpio busybox-static)"; exit 0; }
done
if ldd "$(command -v busybox)" >/dev/null 2>&1; then skip "memory nodes" "busybox is not static (apt-get install busybox-static)"; exit 0; fi

# The kernel, once, with an apt state of its own.
folder=$(mkdir -p "$BUILD/numa" && cd "$BUILD/numa" && pwd)
if ! ls "$folder"/boot/vmlinuz-* >/dev/null 2>&1; then
    apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    : >"$apt/status"
    options=(-qq -o APT::Sandbox::User= -o Debug::NoLocking=1 -o "Dir::State::Lists=$apt/lists"
        -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt")
    apt-get "${options[@]}" update 2>/dev/null
    package=$(apt-cache "${options[@]}" depends linux-image-cloud-amd64 | sed -n 's/ *Depends: //p')
    (cd "$work" && apt-get "${options[@]}" download "$package") >"$work/log" 2>&1 && dpkg -x "$work"/linux-image-*.deb "$folder" ||
        { skip "memory nodes" "the package linux-image-cloud-amd64 cannot be fetched"; exit 0; }
    rm -rf "$folder/lib" "$folder/usr"
fi

# An initial file system with the programs, their libraries and one script.
root=$work/root
mkdir -p "$root"/bin "$root"/lib64 "$root/lib/x86_64-linux-gnu" "$root"/proc "$root"/sys "$root"/dev "$root"/tmp
cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
for program in "$bin/tmac-run" "$BUILD/tests/places"; do
    strip -o "$root/bin/${program##*/}" "$program"
    ldd "$program" | grep -o '/[^ ]*' | while read -r library; do cp -nL "$library" "$root/lib/x86_64-linux-gnu/"; done
done
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
"$bin/tmac-synth" --shape dim=1024,hidden=2816,layers=3,heads=16,kv_heads=4,vocab=1000,context=128 --seed 1 "$root/model.tm2"
cat >"$root/init" <<'END'
#!/bin/sh
export PATH=/bin TMAC_CACHE=/tmp/cache
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /tmp
exec 2>/tmp/errors
echo never >/sys/kernel/mm/transparent_hugepage/enabled
echo "packed small: $(places /model.tm2 4 /tmp/small)"
echo "moved small: $(places /model.tm2 4 /tmp/small)"
echo always >/sys/kernel/mm/transparent_hugepage/enabled
echo "packed huge: $(places /model.tm2 4 /tmp/huge)"
echo "moved huge: $(places /model.tm2 4 /tmp/huge)"
for threads in 1 4; do
    tmac-run /model.tm2 -t 0 -n 12 -j $threads --stats --json >/dev/null 2>/tmp/stats &
    while kill -0 $! 2>/dev/null; do
        cat /proc/$!/task/*/status 2>/dev/null | sed -n 's/^Cpus_allowed_list:\t*//p' | sort | tr '\n' ' ' >/tmp/seen
        grep -q ' .* ' /tmp/seen && cp /tmp/seen /tmp/tied
    done
    echo "logits $threads: $(tail -n 1 /tmp/stats | sed 's/.*"logits_sha256":"\([0-9a-f]*\).*/\1/')"
done
echo "threads: $(cat /tmp/tied)"
poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet -R 0:0) | gzip -1 >"$work/initrd"

timeout 300 qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu Haswell -m 1024M -smp 4,sockets=2,cores=2,threads=1 \
    -object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=512M \
    -numa node,nodeid=0,cpus=0-1,memdev=m0 -numa node,nodeid=1,cpus=2-3,memdev=m1 \
    -kernel "$(ls "$folder"/boot/vmlinuz-* | head -n 1)" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1" \
    -display none -serial stdio -monitor none -no-reboot 2>"$work/qemu" | tr -d '\r' >"$work/said"

native=$(logits_of "$root/model.tm2" -t 0 -n 12 -j 2)
said() { sed -n "s/^$1: //p" "$work/said"; }
check "logits with 1 thread" "$(said 'logits 1')" "$native"
check "logits with 4 threads" "$(said 'logits 4')" "$native"
check "threads are tied to their node" "$(said threads)" "0-1 0-1 2-3 2-3 "
for how in packed moved; do
    # One page per matrix and boundary may be anywhere; of huge pages, which hold several workers' weights, most.
    read -r _ near _ far _ absent _ <<<"$(said "$how small")"
    check "$how: weights in small pages lie with their readers" "$((${near:-0} > 1000 && far * 100 <= near && absent == 0))" 1
    read -r _ near _ far _ absent _ <<<"$(said "$how huge")"
    check "$how: of weights in huge pages more lie with their readers than elsewhere" \
        "$((${near:-0} > 1000 && far < near && absent == 0))" 1
done
[ "${V:-0}" = 0 ] || sed 's/^/# /' "$work/said"
