package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/event"
)

// Traffic is the traffic of a container's cgroup since it was enrolled, in IP packets and bytes of
// those packets.
type Traffic struct {
	PacketsIn  uint64
	BytesIn    uint64
	PacketsOut uint64
	BytesOut   uint64
}

// Flows returns the container's recent peers, newest first, and its traffic. The kernel keeps at
// most 32 peers and replaces the one that was added first.
func (n *Node) Flows(key string) ([]event.Flow, Traffic, error) {
	id, err := n.cgroup(key)
	if err != nil {
		return nil, Traffic{}, err
	}
	traffics, err := n.pinned(mapTraffics)
	if err != nil {
		return nil, Traffic{}, err
	}
	var traffic kernelTraffic
	if err := traffics.Lookup(id, &traffic); err != nil {
		return nil, Traffic{}, fmt.Errorf("look up the flows of %s: %w", key, notExist(err))
	}
	boot, err := bootTime()
	if err != nil {
		return nil, Traffic{}, err
	}
	var flows []event.Flow
	for i := range traffic.Flows {
		if traffic.Flows[i].Family != 0 {
			flows = append(flows, parseFlow(&traffic.Flows[i], boot))
		}
	}
	slices.SortFunc(flows, func(a, b event.Flow) int { return b.Last.Compare(a.Last) })
	return flows, Traffic{traffic.PacketsIn, traffic.BytesIn, traffic.PacketsOut, traffic.BytesOut}, nil
}

func parseFlow(in *kernelFlow, boot time.Time) event.Flow {
	var raw [16]byte
	for i, word := range in.Peer {
		binary.NativeEndian.PutUint32(raw[4*i:], word)
	}
	address := netip.AddrFrom16(raw).Unmap()
	if in.Family == 4 {
		address = netip.AddrFrom4([4]byte(raw[:4]))
	}
	flow := event.Flow{
		Direction: "out",
		Protocol:  strconv.Itoa(int(in.Protocol)),
		Peer:      netip.AddrPortFrom(address, in.PeerPort).String(),
		Count:     in.Count,
		Last:      boot.Add(time.Duration(in.Last)), //nolint:gosec // 292 years of uptime fit
	}
	if in.Direction == uint8(kernelDirectionDIRECTION_IN) {
		flow.Direction, flow.Port = "in", int(in.LocalPort)
	}
	switch in.Protocol {
	case unix.IPPROTO_TCP:
		flow.Protocol = "tcp"
	case unix.IPPROTO_UDP:
		flow.Protocol = "udp"
	}
	return flow
}

// bootTime returns the time at which the programs' clock (CLOCK_BOOTTIME) was zero.
func bootTime() (time.Time, error) {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return time.Time{}, fmt.Errorf("read the boot clock: %w", err)
	}
	return time.Now().Add(-time.Duration(since.Nano())), nil
}

// watchFlows attaches the flow programs to the container's cgroup and pins the links.
func (n *Node) watchFlows(key, cgroupPath string) error {
	cgroup, err := os.Open(cgroupPath) //nolint:gosec // the container's own cgroup, from the kernel
	if err != nil {
		return err
	}
	defer shut(cgroup)
	for _, flow := range flowPrograms {
		program, err := n.program(flow.name)
		if err != nil {
			return err
		}
		attached, err := link.AttachRawLink(link.RawLinkOptions{
			Target:  int(cgroup.Fd()),
			Program: program,
			Attach:  flow.kind,
		})
		if err != nil {
			return fmt.Errorf("attach %s: %w", flow.name, err)
		}
		err = attached.Pin(filepath.Join(n.paths.Pins(key), pinLink(flow.name)))
		shut(attached)
		if err != nil {
			return fmt.Errorf("pin %s: %w", flow.name, err)
		}
	}
	return nil
}
