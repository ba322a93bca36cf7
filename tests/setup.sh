#!/bin/sh
# Checks for what building and testing Millrace needs besides Rust. Missing Debian packages are installed when we are
# root or sudo asks no password; otherwise the command to run is printed. Services that Debian would start are not
# needed: the tests start servers of their own.
set -eu

problems=
packages=

need() { # program package...
    program=$1
    shift
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v "$program" >/dev/null 2>&1 || packages="$packages $*"
}

# Debian keeps the server's programs off the PATH. `DROP DATABASE … WITH (FORCE)` needs PostgreSQL 13.
has_postgres() {
    for initdb in /usr/lib/postgresql/*/bin/initdb "$(command -v initdb || true)"; do
        [ -x "$initdb" ] && [ -x "$(dirname "$initdb")/postgres" ] || continue
        version=$("$initdb" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
        [ "$version" -ge 13 ] && return 0
    done
    return 1
}

has_korean() {
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v fc-list >/dev/null 2>&1 && [ -n "$(fc-list :lang=ko family)" ]
}

# What the pages are held against, the version and checksum that tests/accessibility/package-lock.json says.
install_axe() {
    cd "$(dirname "$0")/accessibility"
    installed=node_modules/axe-core/package.json
    wanted=$(sed -n 's/.*"axe-core": "\(.*\)".*/\1/p' package.json)
    [ -f node_modules/axe-core/axe.min.js ] && grep -q "\"version\": \"$wanted\"" "$installed" && return 0
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
}

has_python() {
    # Debian's python3 has venv, and no pip for it without python3-venv.
    command -v python3 >/dev/null 2>&1 && python3 -c 'import ensurepip, venv' >/dev/null 2>&1
}

# What the API's document is held against, the versions that tests/openapi/requirements.txt says.
install_schemathesis() {
    cd "$(dirname "$0")/openapi"
    [ -x venv/bin/schemathesis ] && cmp -s requirements.txt venv/installed.txt && return 0
    rm -rf venv
    python3 -m venv venv >&2
    venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input -r requirements.txt >&2
    cp requirements.txt venv/installed.txt
}

check_packages() {
    packages=
    need cc gcc libc6-dev
    has_postgres || packages="$packages postgresql"
    need mariadbd mariadb-server
    need mariadb-install-db mariadb-server
    need mariadb mariadb-client
    need chromium chromium
    need curl curl
    need chromedriver chromium-driver
    need setpriv util-linux
    need unshare util-linux
    need systemd-analyze systemd
    need flock util-linux
    need find findutils
    need npm npm
    has_python || packages="$packages python3 python3-venv"
    # Without it the screenshots show boxes for Korean.
    has_korean || packages="$packages fonts-nanum"
    packages=$(printf '%s\n' $packages | sort -u | tr '\n' ' ')
    packages=${packages% }
}

check_rust() {
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
    if ! command -v cargo >/dev/null 2>&1; then
        problems="$problems
Rust $wanted or newer is missing: see https://rustup.rs"
        return
    fi
    found=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n1)" != "$wanted" ]; then
        problems="$problems
Rust $found is too old, $wanted is needed: rustup update"
    fi
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 || problems="$problems
cargo $component is missing: rustup component add $(echo $component | sed 's/^fmt$/rustfmt/')"
    done
}

# Debian starts the services of new packages, unless policy-rc.d says no; one that exists is somebody's own.
INSTALL='
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf "#!/bin/sh\nexit 101\n" >"$policy"
    chmod 755 "$policy"
    trap "rm -f $policy" EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "$@"
'

install_packages() {
    echo "tests/setup.sh: installing $packages" >&2
    if [ "$(id -u)" -eq 0 ]; then
        sh -c "$INSTALL" install $packages
    else
        sudo -n sh -c "$INSTALL" install $packages
    fi
}

may_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

check_rust
check_packages
if [ -n "$packages" ] && may_install; then
    install_packages >&2 || problems="$problems
apt-get failed, see above"
    check_packages
fi
if [ -n "$packages" ]; then
    problems="$problems
Debian packages are missing. Run:
    sudo apt-get update && sudo apt-get install --no-install-recommends $packages"
fi
if [ -z "$packages" ]; then
    (install_axe) || problems="$problems
axe-core could not be installed from npm, see above"
    (install_schemathesis) || problems="$problems
schemathesis could not be installed from PyPI, see above"
fi
if [ -n "$problems" ]; then
    echo "The tests cannot run on this machine yet.$problems" >&2
    exit 1
fi
