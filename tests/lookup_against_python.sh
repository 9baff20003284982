#!/usr/bin/env bash
# Do the `lookup` example and Python's `socket` say the same, field by field?
#     tests/lookup_against_python.sh
# Both are asked about every host, address and service of private files, in namespaces that this script
# makes: a mount namespace with hosts, services, nsswitch.conf and resolv.conf of its own, and a network
# namespace with nothing but loopback. No question leaves it. Then once more without services.
# Exit status: 0 they agree, 1 they differ, 77 no right to make namespaces: nothing was compared.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

if [[ ${1:-} != inside ]]; then
    command -v python3 >/dev/null || { echo 'lookup_against_python: needs python3' >&2; exit 1; }
    if ! unshare --user --map-root-user --mount --net true; then
        echo '******** NOT RUN: lookup_against_python: no right to make namespaces ********' >&2
        exit 77
    fi
    timeout 1800 cargo build --quiet --example lookup
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    cp "${CARGO_TARGET_DIR:-target}/debug/examples/lookup" "$dir/lookup"
    timeout 300 unshare --user --map-root-user --mount --net "$BASH" tests/lookup_against_python.sh \
        inside "$dir"
    exit
fi
dir=$2

# ---- Private files -------------------------------------------------------------------------------

# One host with an address on each of two lines, some with aliases, some IPv6 only, names in any case.
cat >"$dir/hosts" <<'HOSTS'
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
192.0.2.1 mail.example.test mail smtp mx1
192.0.2.2 www.example.test www
192.0.2.3 www2.example.test www
2001:db8::2 www.example.test www www6
2001:db8::3 six.example.test six
2001:db8::4 six.example.test six-again
10.0.0.1 router gateway gw default-router
10.0.0.2 printer.example.test printer # a comment
10.0.0.3 a_b.example.test under_score
198.51.100.7 MixedCase.Example.Test mixed
203.0.113.1 one
203.0.113.2 one
203.0.113.3 one uno eins
2001:db8::abcd both.example.test
203.0.113.9 both.example.test both
192.0.2.200 xn--bcher-kva.example buecher
HOSTS

# Aliases, both protocols with different names, a digit in front, one protocol only, high ports.
cat >"$dir/services" <<'SERVICES'
echo            7/tcp
echo            7/udp
discard         9/tcp           sink null
discard         9/udp           sink null
ssh             22/tcp
smtp            25/tcp          mail
domain          53/tcp
domain          53/udp
tftp            69/udp
gopher          70/tcp
http            80/tcp          www www-http
pop3            110/tcp         pop-3
imap2           143/tcp         imap
ldap            389/tcp
https           443/tcp
https           443/udp
shell           514/tcp         cmd syslog
syslog          514/udp
9pfs            564/tcp
3com-tsmux      106/tcp         poppassd
whois++         63/tcp
private-thing   40001/tcp       thing1 thing2 thing_3
private-thing   40002/udp       other-thing
last-port       65535/udp
SERVICES

printf 'multi on\n' >"$dir/host.conf" # a host may stand on several lines
printf 'hosts: files\nservices: files\nprotocols: files\n' >"$dir/nsswitch.conf"
: >"$dir/resolv.conf"
for file in hosts host.conf services nsswitch.conf resolv.conf; do
    mount --bind "$dir/$file" "/etc/$file"
done
ip link set lo up

# ---- The comparison ------------------------------------------------------------------------------

export LOOKUP=$dir/lookup
python3 - <<'PYTHON'
import os, re, socket, subprocess, sys

LOOKUP = os.environ["LOOKUP"]
compared = {"hosts": 0, "addresses": 0, "services": 0, "ports": 0, "unknown": 0}
fields = differences = 0


def ours(*arguments):
    """What `lookup` prints, as a dictionary of lists; None if it fails."""
    done = subprocess.run([LOOKUP, *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        line = done.stderr.strip()
        assert line.startswith("lookup: ") and "\n" not in line, done.stderr
        return None
    table = {}
    for line in done.stdout.splitlines():
        what, value = line.split(None, 1)
        table.setdefault(what, []).append(value)
    return table


def compare(what, section, **expected):
    """`expected` has a list, or a set where order says nothing, for each field."""
    global fields, differences
    table = ours(*what)
    if table is None:
        table = {}
    compared[section] += 1
    for field, wanted in expected.items():
        fields += 1
        found = table.get(field, [])
        if (set(found), len(found)) != (wanted, len(wanted)) if isinstance(wanted, set) else found != wanted:
            differences += 1
            print(f"DIFFERENT: lookup {' '.join(what)}: {field}: {found}, Python {wanted}")
    if set(table) - set(expected):
        differences += 1
        print(f"DIFFERENT: lookup {' '.join(what)}: more than expected: {table}")


def fails(what):
    global fields, differences
    fields += 1
    compared["unknown"] += 1
    table = ours(*what)
    if table is not None:
        differences += 1
        print(f"DIFFERENT: lookup {' '.join(what)}: {table}, Python fails")


def words(path):
    for line in open(path):
        line = line.split("#")[0].split()
        if line:
            yield line


def addresses(name):
    """In the order of getaddrinfo, which has IPv6 too; its order is what ours is to be."""
    infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [info[4][0] for info in infos]


def names(name):
    """Python has aliases by name for IPv4 only: those of IPv6 are had by address."""
    found = []
    try:
        canonical, aliases, _ = socket.gethostbyname_ex(name)
        found += [canonical, *aliases]
    except OSError:
        pass
    six = [info[4][0] for info in socket.getaddrinfo(name, None, socket.AF_INET6, socket.SOCK_STREAM)] \
        if any(":" in address for address in addresses(name)) else []
    for address in six:
        canonical, aliases, _ = socket.gethostbyaddr(address)
        found += [canonical, *aliases]
    return found[0], set(found) - {found[0]}


hosts = list(words("/etc/hosts"))
for name in dict.fromkeys(name for line in hosts for name in line[1:]):
    for spelling in dict.fromkeys([name, name.upper()]):
        name_, aliases = names(spelling)
        compare(("host", spelling), "hosts", name=[name_], alias=aliases, address=addresses(spelling))
for line in hosts:
    name_, aliases, found = socket.gethostbyaddr(line[0])
    compare(("address", line[0]), "addresses", name=[name_], alias=set(aliases), address=found)
for literal in ["192.0.2.77", "2001:db8::77", "::1"]:
    compare(("host", literal), "hosts", name=[literal], address=addresses(literal))
mapped, aliases, _ = socket.gethostbyaddr("192.0.2.1")
compare(("address", "::ffff:192.0.2.1"), "addresses", name=[mapped], alias=set(aliases),
        address=["192.0.2.1"])

services = [(line[0], *line[1].split("/"), line[2:]) for line in words("/etc/services")]
for name, port, protocol, aliases in services:
    for asked in [name, *aliases]:
        number = socket.getservbyname(asked, protocol)
        official = socket.getservbyport(number, protocol)
        compare(("service", asked, protocol), "services", name=[official], alias=aliases,
                port=[str(number)], protocol=[protocol])
    compare(("service", port, protocol), "services", name=[socket.getservbyport(int(port), protocol)],
            alias=aliases, port=[port], protocol=[protocol])

# The lecture's way: getservbyname(urlparse(link).scheme).
from urllib.parse import urlparse
for link in ["smtp://mail.google.com", "http://example.test/a?b#c", "https://example.test",
             "pop3://u:p@example.test", "imap://example.test/", "gopher://example.test",
             "ldap://example.test", "ssh://git@example.test", "tftp://example.test/file"]:
    compare(("port", link), "ports", **{link: [str(socket.getservbyname(urlparse(link).scheme))]})

for name in ["nosuch", "nosuch.example.test", "mail.example", "", "a b", "a" * 64]:
    try:
        socket.gethostbyname_ex(name) if name else fails(("host", name))
    except OSError:
        fails(("host", name))
    except UnicodeError:
        fails(("host", name))
for ip in ["192.0.2.99", "2001:db8::99"]:
    try:
        socket.gethostbyaddr(ip)
    except OSError:
        fails(("address", ip))
for name, protocol in [("no-such-service", "tcp"), ("tftp", "tcp"), ("ssh", "udp"), ("9", "tcp")]:
    try:
        socket.getservbyname(name, protocol)
    except OSError:
        if name != "9":  # a number is asked for by number here: that is `discard`
            fails(("service", name, protocol))

me = socket.gethostname()
table = ours("me")
fields += 2
if table["hostname"] != [me] or table["fqdn"] != [socket.getfqdn()]:
    differences += 1
    print(f"DIFFERENT: lookup me: {table}, Python {me} {socket.getfqdn()}")

print("compared: " + ", ".join(f"{count} {what}" for what, count in compared.items())
      + f"; {fields} fields, {differences} differences")
enough = compared["hosts"] >= 40 and compared["addresses"] >= 15 and compared["services"] >= 40
if not enough:
    print("too few were compared")
sys.exit(0 if differences == 0 and enough else 1)
PYTHON

# ---- Without /etc/services -----------------------------------------------------------------------

umount /etc/services
mkdir "$dir/empty"
cp -a /etc/. "$dir/empty" 2>/dev/null || true
rm -f "$dir/empty/services"
mount --bind "$dir/empty" /etc
failed=0
for pair in http:80 https:443 ftp:21 smtp:25 imap:143 pop3:110 gopher:70 ldap:389 ssh:22 telnet:23 nntp:119
do
    found=$("$LOOKUP" port "${pair%:*}://example.test" | awk '{ print $2 }')
    [[ $found == "${pair#*:}" ]] || { echo "DIFFERENT: ${pair%:*} is $found"; failed=1; }
done
python3 -c 'import socket
try: socket.getservbyname("smtp")
except OSError: pass
else: raise SystemExit("Python still finds /etc/services")'
echo "without /etc/services: 11 ports, of which Python knows none"

# ---- What people mistype -------------------------------------------------------------------------

# Arguments, then words of the one line that says what is wrong.
mistyped=(
    '                  | expected host, address, service, port or me: see --help'
    'host              | expected host, address, service, port or me: see --help'
    'host 127.1        | expected four decimal numbers up to 255'
    'host [::1]        | here IPv6 addresses stand without'
    'host ::1%nosuch0  | no interface here is called `nosuch0`'
    'address localhost | `localhost` is no IP address'
    'address ::9%lo    | look up ::9: no name is known for this address'
    'service 70000     | 70000 is no port'
    'service 80 sctp   | expected `tcp` or `udp`'
    'service tftp      | only one of UDP'
    'port ssh h:80     | a host with its port is no URL'
    'port nosuch://h   | no port is known for `nosuch`'
    '--verbose         | invalid option'
)
for row in "${mistyped[@]}"; do
    status=0
    # shellcheck disable=SC2086 # the words are arguments
    said=$("$LOOKUP" ${row%%|*} 2>&1) || status=$?
    if [[ $status != 1 || $said != "lookup: "*"${row#*| }"* || $said == *$'\n'* ]]; then
        echo "WRONG: lookup ${row%%|*} ended with $status and said: $said"
        failed=1
    fi
done
echo "mistyped: ${#mistyped[@]} lines"
exit "$failed"
