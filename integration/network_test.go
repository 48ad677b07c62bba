package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
	"github.com/shimward/shimward/internal/testenv"
)

// TestNetwork checks that an access event also shows the container's network peers: over TCP and
// UDP, IPv4 and IPv6, incoming and outgoing.
func TestNetwork(t *testing.T) {
	n := startGuardedNode(t, node.Options{})
	ctx := testContext(t)
	for _, family := range []struct{ name, host string }{{"IPv4", "127.0.0.1"}, {"IPv6", "::1"}} {
		t.Run(family.name, func(t *testing.T) {
			id := "talker-" + family.name
			at := net.JoinHostPort(family.host, "0")
			stream, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
			if err != nil {
				testenv.Missing(t, family.name+" on the loopback device: "+err.Error())
			}
			defer stream.Close()
			packets, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", at)
			if err != nil {
				t.Fatal(err)
			}
			defer packets.Close()
			go serve(stream)
			_, tcp, _ := net.SplitHostPort(stream.Addr().String())
			_, udp, _ := net.SplitHostPort(packets.LocalAddr().String())
			spare, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			_, in, _ := net.SplitHostPort(spare.Addr().String())
			if err := spare.Close(); err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf("echo tcp | nc -w 5 %[1]s %[2]s; busybox tftp -g -r x -l /tmp/x %[1]s %[3]s >/dev/null 2>&1 & echo in | nc -l -p %[4]s; sleep 1000000",
				family.host, tcp, udp, in)
			c, err := n.RunDetached(ctx, node.Spec{
				ID: id, Runtime: node.Shimward, Annotations: auditStrict(), Args: []string{"/bin/sh", "-c", script},
				Options: []oci.SpecOpts{oci.WithHostNamespace(specs.NetworkNamespace)},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := packets.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := packets.ReadFrom(make([]byte, 16)); err != nil {
				t.Error(err)
			}
			from, err := dial(ctx, net.JoinHostPort(family.host, in))
			if err != nil {
				t.Fatal(err)
			}
			wantGuarded(t, n, c, "x", false)
			if err := c.Delete(ctx); err != nil {
				t.Error(err)
			}
			events := accesses(t, n, id)
			if len(events) == 0 {
				t.Fatal("no event")
			}
			for _, want := range []event.Flow{
				{Direction: "out", Protocol: "tcp", Peer: net.JoinHostPort(family.host, tcp)},
				{Direction: "out", Protocol: "udp", Peer: net.JoinHostPort(family.host, udp)},
				{Direction: "in", Protocol: "tcp", Peer: from},
			} {
				if !talked(events[0].Access.Network, want) {
					t.Errorf("no %+v in %+v", want, events[0].Access.Network)
				}
			}
		})
	}
	wantSettled(t, n)
}

func talked(flows []event.Flow, want event.Flow) bool {
	for _, flow := range flows {
		if flow.Direction == want.Direction && flow.Protocol == want.Protocol && flow.Peer == want.Peer {
			return true
		}
	}
	return false
}

func serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

// dial connects to a server that may not listen yet, reads what it sends, and returns the address
// that the server saw.
func dial(ctx context.Context, to string) (string, error) {
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
		if err == nil {
			defer conn.Close()
			said, err := io.ReadAll(io.LimitReader(conn, 3))
			if err == nil && !strings.HasPrefix(string(said), "in") {
				err = fmt.Errorf("%s said %q", to, said)
			}
			return conn.LocalAddr().String(), err
		}
		if time.Now().After(deadline) {
			return "", err
		}
		<-time.After(50 * time.Millisecond)
	}
}
