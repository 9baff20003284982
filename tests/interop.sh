#!/usr/bin/env bash
# Other programs speak to ours: netcat, socat and Python ask `reverse_server` on TCP over IPv4 and
# IPv6, Unix and UDP, on every engine, and compare what comes back byte for byte.
#     tests/interop.sh
# Then a signal must end the server in an orderly way. `reverse_client` and `forward` are asked too.
# Installs what is missing with apt-get. All traffic stays on loopback, every wait has its limit, and
# only children of this script are killed.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

passed=0 failed=0
pass() { passed=$((passed + 1)); }
fail() {
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$*"
}
# check WHAT COMMAND...
check() {
    local what=$1
    shift
    if "$@"; then pass; else fail "$what"; fi
}

# ---- What is needed ------------------------------------------------------------------------------

packages=()
nc -h 2>&1 | grep -q OpenBSD || packages+=(netcat-openbsd)
command -v socat >/dev/null || packages+=(socat)
command -v python3 >/dev/null || packages+=(python3)
if ((${#packages[@]})); then
    export DEBIAN_FRONTEND=noninteractive
    timeout 300 apt-get update -q >/dev/null
    timeout 300 apt-get install -q -y --no-install-recommends "${packages[@]}" >/dev/null
fi
# The one netcat whose options these are, even where another goes by the short name.
nc=$(command -v nc.openbsd || command -v nc)

timeout 1800 cargo build --quiet --examples
bin=${CARGO_TARGET_DIR:-target}/debug/examples

dir=$(mktemp -d)
children=()
cleanup() {
    local pid
    for pid in "${children[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap cleanup EXIT
# A child that is waited for here is forgotten, so that its number is never killed for another's.
forget() {
    local kept=() pid
    for pid in "${children[@]}"; do [[ $pid == "$1" ]] || kept+=("$pid"); done
    children=(${kept[@]+"${kept[@]}"})
}

# ---- Questions and answers -----------------------------------------------------------------------

# NAME.in is what is sent, NAME.stream and NAME.datagram what is to come back.
python3 - "$dir" <<'PYTHON'
import sys, unicodedata
question, answer = "đảo ngược chuỗi", "iỗuhc cợưgn oảđ"
normal = unicodedata.normalize
pairs = {
    "nfc": (normal("NFC", question), normal("NFC", answer)),
    "nfd": (normal("NFD", question), normal("NFD", answer)),
    "emoji": ("👩‍👩‍👧‍👦ab", "ba👩‍👩‍👧‍👦"),
    "empty": ("", ""),
}
assert pairs["nfc"] != pairs["nfd"]
for name, (asked, answered) in pairs.items():
    for ending, text in ("in", asked + "\n"), ("stream", answered + "\n"), ("datagram", answered):
        with open(f"{sys.argv[1]}/{name}.{ending}", "wb") as file:
            file.write(text.encode())
PYTHON

# One question over one socket: ask.py ENDPOINT, from standard input to standard output.
cat >"$dir/ask.py" <<'PYTHON'
import socket, sys
scheme, _, place = sys.argv[1].partition("://")
question = sys.stdin.buffer.read()
kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
if scheme == "unix":
    family, address = socket.AF_UNIX, place
else:
    host, _, port = place.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    address = (host.strip("[]"), int(port))
with socket.socket(family, kind) as s:
    s.settimeout(30)
    s.connect(address)
    s.sendall(question)
    if scheme == "udp":
        answer = s.recv(65536)
    else:
        s.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
sys.stdout.buffer.write(answer)
PYTHON

# until_answered: standard input, whose end comes once there is an answer.
until_answered() {
    local deadline=$((SECONDS + 30))
    cat
    until [[ -s $dir/answer ]] || ((SECONDS >= deadline)); do sleep 0.05; done
}

# ask TOOL ENDPOINT: from standard input to standard output, which for datagrams is the file `answer`.
ask() {
    local tool=$1 endpoint=$2 scheme=${2%%://*} place=${2#*://}
    local host=${place%:*} port=${place##*:}
    case $tool-$scheme in
        nc-tcp) timeout 40 "$nc" -N "$(tr -d '[]' <<<"$host")" "$port" ;;
        nc-unix) timeout 40 "$nc" -N -U "$place" ;;
        # Datagrams have no end: they wait a while for more.
        nc-udp) until_answered | timeout 40 "$nc" -u -q 1 "$host" "$port" ;;
        socat-tcp) timeout 40 socat -t 30 - "TCP:$place" ;;
        socat-unix) timeout 40 socat -t 30 - "UNIX-CONNECT:$place" ;;
        socat-udp) until_answered | timeout 40 socat -t 0.5 - "UDP:$place" ;;
        python-*) timeout 40 python3 "$dir/ask.py" "$endpoint" ;;
    esac
}

# compare TOOL ENDPOINT NAME WHERE
compare() {
    local kind=stream
    [[ $2 == udp://* ]] && kind=datagram
    if ask "$1" "$2" <"$dir/$3.in" >"$dir/answer" && cmp -s "$dir/answer" "$dir/$3.$kind"; then
        pass
    else
        fail "$4: $1 asked $2 for $3 and got: $(od -An -c "$dir/answer" | head -3 | tr -s ' \n' ' ')"
    fi
}

# listening FILE COUNT: waits until so many endpoints are printed there, and prints them. The file is there
# already: the child that is to write it may come to it late.
listening() {
    local deadline=$((SECONDS + 60))
    while (($(grep -c '^listening on ' "$1") < $2)); do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
    sed -n 's/^listening on //p' "$1"
}

# reap PID: its exit status; whoever is still there after a minute is killed.
reap() {
    local deadline=$((SECONDS + 60)) status=0
    while kill -0 "$1" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.05; done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || status=$?
    forget "$1"
    return "$status"
}

one_line() { [[ $(wc -l <"$1") == 1 && -s $1 ]]; }
# refuses FILE COMMAND...: it fails with status 1 and one line in FILE.
refuses() {
    fails "$@" && one_line "$1"
}

# fails FILE COMMAND...: it exits with 1; what it says goes to the file.
fails() {
    local file=$1 status=0
    shift
    timeout 40 "$@" >/dev/null 2>"$file" || status=$?
    [[ $status == 1 ]]
}

# ---- One engine ----------------------------------------------------------------------------------

wanted=(tcp://127.0.0.1:0 "unix://$dir/socket" udp://127.0.0.1:0)
if python3 -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' 2>/dev/null; then
    wanted+=('tcp://[::1]:0')
else
    echo 'note: this machine has no IPv6, so tcp://[::1] is left out'
fi

try_engine() {
    local engine=$1 server holder endpoint tool name tcp relay through target
    # Emptied here, because there are lines of another in it.
    : >"$dir/server"
    "$bin/reverse_server" "${wanted[@]}" --engine "$engine" >"$dir/server" 2>&1 &
    server=$!
    children+=("$server")
    local endpoints=()
    mapfile -t endpoints < <(listening "$dir/server" "${#wanted[@]}")
    if ((${#endpoints[@]} != ${#wanted[@]})); then
        fail "$engine: the server did not start: $(cat "$dir/server")"
        return
    fi

    for endpoint in "${endpoints[@]}"; do
        [[ $endpoint == tcp://127* ]] && tcp=$endpoint
        for name in nfc nfd emoji empty; do
            for tool in nc socat python; do
                # Both take an empty datagram for the end; Python sees that it came.
                [[ $endpoint == udp://* && $name == empty && $tool != python ]] && continue
                compare "$tool" "$endpoint" "$name" "$engine"
            done
            # A line a reply, with its end, whatever the socket.
            timeout 40 "$bin/reverse_client" "$endpoint" <"$dir/$name.in" >"$dir/answer" || true
            check "$engine: reverse_client, $endpoint, $name" \
                cmp -s "$dir/answer" "$dir/$name.stream"
        done
        check "$engine: reverse_client with arguments, $endpoint" \
            [ "$(timeout 40 "$bin/reverse_client" "$endpoint" stressed ab)" == $'desserts\nba' ]
    done

    # Through the forwarder, which listens on the other family, and with a megabyte.
    for target in "$tcp" "unix://$dir/socket"; do
        local from=tcp://127.0.0.1:0
        [[ $target == tcp://* ]] && from=unix://$dir/forward
        rm -f "$dir/forward"
        : >"$dir/relay"
        "$bin/forward" "$from" "$target" --engine "$engine" >"$dir/relay" 2>&1 &
        relay=$!
        children+=("$relay")
        through=$(listening "$dir/relay" 1) || through=tcp://127.0.0.1:1
        for tool in nc socat python; do
            compare "$tool" "$through" nfd "$engine, forwarded to $target"
        done
        seq 1000000 1131071 | ask python "$through" | rev | cmp -s - <(seq 1000000 1131071) &&
            pass || fail "$engine: a megabyte forwarded to $target"
        kill "$relay" 2>/dev/null || true
        reap "$relay" || true
    done

    # Somebody is still connected when the signal comes: the connection is ended in an orderly way.
    timeout 60 python3 - "$tcp" "$dir/held" <<'PYTHON' &
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1].rpartition(":")[2])), 50) as s:
    s.sendall(b"abc\n")
    assert s.recv(100) == b"cba\n"
    open(sys.argv[2], "w").close()
    assert s.recv(100) == b""
PYTHON
    holder=$!
    children+=("$holder")
    local deadline=$((SECONDS + 60))
    until [[ -e $dir/held ]] || ((SECONDS >= deadline)); do sleep 0.05; done
    check "$engine: a connection is held" [ -e "$dir/held" ]
    rm -f "$dir/held"
    check "$engine: the socket file is there" [ -S "$dir/socket" ]
    kill -INT "$server"
    check "$engine: exits 0 on SIGINT" reap "$server"
    check "$engine: ends connections in an orderly way" reap "$holder"
    check "$engine: reports what it finished" grep -q '^stopped: [1-9][0-9]* finished, 0 cut off$' \
        "$dir/server"
    check "$engine: reports what it served" grep -q '^served:  [1-9][0-9]* connections$' \
        "$dir/server"
    check "$engine: removes its socket file" [ ! -e "$dir/socket" ]
    check "$engine: reverse_client is refused" refuses "$dir/error" "$bin/reverse_client" "$tcp" a
    check "$engine: the refusal says why" grep -q 'Connection refused' "$dir/error"
    check "$engine: reverse_client --verbose is refused too" \
        fails "$dir/error" "$bin/reverse_client" --verbose "$tcp" a
    check "$engine: and says what it tried" \
        grep -q "^  ${tcp#tcp://} after .*: Connection refused .* in " "$dir/error"
}

for engine in threads events; do
    try_engine "$engine"
done

# Nobody answers.
: >"$dir/mute"
timeout 60 python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print("listening on udp://127.0.0.1:%d" % s.getsockname()[1], flush=True)
time.sleep(50)' >"$dir/mute" &
mute=$!
children+=("$mute")
silent=$(listening "$dir/mute" 1) || silent=
check 'reverse_client gives up' refuses "$dir/error" "$bin/reverse_client" "$silent" a
check 'reverse_client says that time is over' grep -q 'timed out' "$dir/error"
kill "$mute" 2>/dev/null || true
reap "$mute" || true

printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
