insmod /ctwhy_dying.ko
ip netns add n
ip -n n link set lo up
ip netns exec n nft -f /dying.nft

try() {
	if ip netns exec n ping -c 1 -W 2 "$1" >/dev/null 2>&1; then
		echo "passed: $2"
	else
		echo "lost: $2"
	fi
}
try 127.0.0.2 unmarked
try 127.0.0.3 marked
try ::1 'marked, IPv6'
ip netns exec n conntrack -S | grep -o 'insert_failed=[0-9]*'

ip netns del n
rmmod ctwhy_dying
