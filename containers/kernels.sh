# Sourced where the container's files are read-only (Apptainer): numba takes compiled kernels only from folders that it may
# write to, so those that were compiled at build are copied, once a user and version, to one.
kernels=/opt/isocenter/scripts/isocenter/__pycache__
if [ -d "$kernels" ] && [ ! -w "$kernels" ]; then
    version=$(cd "$kernels" && ls -d kernels-* | cksum | cut -d ' ' -f 1)
    # The caller's own cache; where it cannot be written, or was not mounted, a folder that nobody else may write to.
    caches=${XDG_CACHE_HOME:-${HOME:-}/.cache}
    if ! mkdir -p "$caches/isocenter" 2>/dev/null || [ ! -w "$caches/isocenter" ]; then
        caches=${TMPDIR:-/tmp}/isocenter-$(id -u)
        mkdir -m 700 "$caches" 2>/dev/null
        [ "$(stat -c %u "$caches" 2>/dev/null)" = "$(id -u)" ] || caches=$(mktemp -d)
        export XDG_CACHE_HOME="$caches" MPLCONFIGDIR="$caches/matplotlib"
    fi
    NUMBA_CACHE_DIR=$caches/isocenter/kernels-$version
    if [ ! -d "$NUMBA_CACHE_DIR" ]; then
        mkdir -p "$NUMBA_CACHE_DIR.$$"
        cp -R "$kernels"/kernels-*/* "$NUMBA_CACHE_DIR.$$" &&
            mv -T "$NUMBA_CACHE_DIR.$$" "$NUMBA_CACHE_DIR" 2>/dev/null ||
            rm -rf "$NUMBA_CACHE_DIR.$$" # another job was first, or the disk is full
    fi
    export NUMBA_CACHE_DIR
fi
