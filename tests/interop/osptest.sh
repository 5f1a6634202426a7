#!/usr/bin/env bash
# Runs OSP Toolkit's test client (Debian: osptoolkit) against a clearinghouse.
#
#   osptest.sh URL DIR
#
# URL  of the clearinghouse, e.g. http://127.0.0.1:5045/osp or https://127.0.0.1:1443/osp. Over https the client shows localcert.pem when it is
#      asked for a certificate, takes any server's, and needs nothing else in its configuration. CUSTOMER and DEVICE must then be the
#      certificate's, else the clearinghouse answers 401.
# DIR  with pkey.pem, localcert.pem, cacert_0.pem, as osp-device writes them; output and configuration are left there
# Environment: CALLED (12125550100), CALLING (14048724799), CALLS (10); CUSTOMER and DEVICE default to the names in localcert.pem.
#
# Two runs, because the client's menu shows each result as "function return code = N", zero being success:
# - Full calls: 1 a new provider, 41 CALLS full calls (ask for authorization, validate the signature of each destination's token, report
#   usage), 2 delete the provider. Three codes, all zero; a call that fails adds "Test Failed. Iteration = I Function = F ErrorCode = N",
#   where F is the menu's number of what failed (29 authorization, 31 token, 32 usage).
# - Every element: 999 sends an authorization request and two usage reports in one message, each with every element the client knows.
#   One code, zero, and "num dest = N" with N not zero.
# `cargo test -p strowger-clearinghouse-server --test osptest` runs this against a clearinghouse of its own, over http and https, and once over
# https with another device's name, which must fail.
# The letter before each later number in the input answers "press any key to continue".
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "usage: osptest.sh URL DIR" >&2
    exit 2
fi
url=$1
dir=$(cd "$2" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if ! command -v osptest >/dev/null; then
    echo "osptest.sh: osptest is not installed: apt-get install osptoolkit" >&2
    exit 2
fi
for file in pkey.pem localcert.pem cacert_0.pem; do
    if [ ! -r "$dir/$file" ]; then
        echo "osptest.sh: $dir/$file is missing: run osp-device first" >&2
        exit 2
    fi
done

name() { openssl x509 -in "$dir/localcert.pem" -noout -subject -nameopt multiline | sed -n "s/^ *$1 *= //p"; }
customer=${CUSTOMER:-$(name organizationName)}
device=${DEVICE:-$(name commonName)}
sed -e "s|@URL@|$url|" -e "s|@CUSTOMER@|$customer|" -e "s|@DEVICE@|$device|" -e "s|@CALLED@|${CALLED:-12125550100}|" \
    -e "s|@CALLING@|${CALLING:-14048724799}|" -e "s|@CALLS@|${CALLS:-10}|" "$here/osptest.cfg.in" >"$dir/test.cfg"

failed=0
# run NAME INPUT CODES: CODES return codes are expected, all zero
run() {
    local log="$dir/osptest-$1.log" status=0
    (cd "$dir" && printf "$2" | timeout "${LIMIT:-120}" osptest) >"$log" 2>&1 || status=$?
    local codes
    codes=$(grep -ao 'function return code = [0-9-]*' "$log" | sed 's/.* //' | tr '\n' ' ' || true)
    local wanted
    wanted=$(for ((i = 0; i < $3; i++)); do printf '0 '; done)
    if [ "$status" -eq 0 ] && [ "$codes" = "$wanted" ] && ! grep -aq 'Test Failed' "$log" && grep -aq 'Program Over' "$log"; then
        echo "osptest $1: ok (return codes $codes)"
    else
        echo "osptest $1: FAILED (exit $status, return codes ${codes:-none}, wanted $wanted; see $log)"
        grep -a 'Test Failed' "$log" || true
        failed=1
    fi
}

run full-calls '1\nx41\nx2\nxq\n' 3
run every-element '999\nxq\n' 1
if ! grep -aqE 'num dest = [1-9]' "$dir/osptest-every-element.log"; then
    echo "osptest every-element: FAILED (no destination)"
    failed=1
fi
exit "$failed"
