# Prints what drives the GPUs of this host, one `KEY VALUE` per line, and changes nothing. $1: the pin file of this role.
# sudo often leaves out the folders of the system's programs.
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# tag KEY: prints standard input, each line with its key.
tag() { sed "s|^|$1 |"; }
# present KEY PATH...: prints the paths that exist.
present() { key=$1; shift; for path; do if [ -e "$path" ]; then echo "$key $path"; fi; done; }

# WSL has nvidia-smi outside of PATH, and a driver container has its own root folder.
if command -v nvidia-smi > /dev/null; then smi=nvidia-smi
elif [ -x /usr/lib/wsl/lib/nvidia-smi ]; then smi=/usr/lib/wsl/lib/nvidia-smi
elif [ -x /run/nvidia/driver/usr/bin/nvidia-smi ]; then
  echo "root /run/nvidia/driver"
  smi="chroot /run/nvidia/driver nvidia-smi"
else smi=
fi
if [ -n "$smi" ]; then
  # Its exit code is NVML's: 9 when no module is loaded, 18 when it is another version's.
  answer=$(timeout 60 $smi --query-gpu=driver_version --format=csv,noheader 2>&1) && status=0 || status=$?
  printf '%s\n' "$answer" | tag smi
else status=127
fi
echo "smi-status $status"

kernel=$(uname -r)
echo "kernel $kernel"
if [ -e /sys/module/nvidia ]; then echo "module $(cat /sys/module/nvidia/version 2> /dev/null || echo unknown)"; fi
present nouveau /sys/module/nouveau
present wsl /dev/dxg
sed -n "s/^Package: /pinned /p" "$1" 2> /dev/null
present headers "/lib/modules/$kernel/build"
present installer /usr/bin/nvidia-uninstall /usr/bin/nvidia-installer
# Debian has several names for it: nvidia-current, nvidia-tesla-535.
for list in /lib/modules/*/modules.dep; do
  if grep -qsE '/nvidia(-current|-(tesla|legacy)[-0-9a-z]*)?[.]ko' "$list"; then echo "built $(basename "$(dirname "$list")")"; fi
done
ldconfig -p | sed -nE 's/^\s*(lib(cuda|nvidia-ml)[.]so[.]1|libGLX_nvidia[.]so[.]0) .*=> (.*)/\1 \3/p' | while read -r name path; do
  echo "library $name $(readlink -f "$path")"
done
for folder in /etc /usr/local/etc /usr/local/share /usr/share; do
  present icd "$folder"/vulkan/icd.d/nvidia_icd*.json
  present egl "$folder"/glvnd/egl_vendor.d/*nvidia*.json
done

# The rest explains why a driver does not answer.
if [ "$status" -ne 0 ]; then
  boot=/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
  if [ -e "$boot" ] && [ "$(od -An -t u1 -j 4 -N 1 "$boot" | tr -d ' ')" = 1 ]; then echo "secure-boot $boot"; fi
  if command -v dkms > /dev/null; then timeout 30 dkms status 2> /dev/null | grep -i nvidia | tag dkms; fi
fi
exit 0
