echo "argument: $1"
uname -r
echo "cpus: $(nproc)"

cat >/tmp/back

ip netns add n
ip link add v0 type veth peer name v1 netns n
ip addr add 10.9.9.1/24 dev v0
ip link set v0 up
ip -n n addr add 10.9.9.2/24 dev v1
ip -n n link set v1 up
ip netns exec n nft -f - <<RULES
table ip t {
	chain in {
		type filter hook input priority 0
		ct state invalid drop
	}
	chain nat {
		type nat hook postrouting priority 100
		masquerade
	}
}
RULES
ping -c 1 -W 5 10.9.9.2 >/dev/null &&
	[ "$(ip netns exec n conntrack -L -p icmp 2>/dev/null | grep -c src=10.9.9.1)" = 1 ] &&
	echo 'netns: one entry'

printf 'on stderr\r\n' >&2
printf 'no newline at the end'
# What goes on in the background must not keep the machine from ending.
sleep 1000 &
exit 42
