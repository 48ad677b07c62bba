package bpf

import (
	"net"
	"strings"
	"testing"

	"github.com/shimward/shimward/policy"
)

func TestFlows(t *testing.T) {
	node := sharedNode(t)
	c := newContainer(t, node, plan("flows", policy.ModeAudit, allObserved()))
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p := c.run("network", server.Addr().String())
	listens, _ := p.hear()
	client, err := net.Dial("tcp", listens)
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	if said, status := p.end(); status.ExitStatus() != 0 {
		t.Fatalf("%v: %s", status, said)
	}
	flows, traffic, err := node.Flows("flows")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, flow := range flows {
		peer := flow.Peer
		if flow.Direction == "in" {
			peer, _, _ = strings.Cut(peer, ":")
		}
		seen[flow.Direction+" "+flow.Protocol+" "+peer] = true
	}
	for _, want := range []string{
		"out tcp " + server.Addr().String(), "out udp 127.0.0.9:9", "out udp [::1]:9", "in tcp 127.0.0.1",
	} {
		if !seen[want] {
			t.Errorf("%q is not among %+v", want, flows)
		}
	}
	if traffic.PacketsOut < 5 || traffic.PacketsIn < 3 || traffic.BytesOut < 200 || traffic.BytesIn < 120 {
		t.Errorf("%+v", traffic)
	}
}

func TestParseFlow(t *testing.T) {
	boot, err := bootTime()
	if err != nil {
		t.Fatal(err)
	}
	in := kernelFlow{Family: 6, Protocol: 132, Direction: uint8(kernelDirectionDIRECTION_IN), PeerPort: 80, LocalPort: 443, Last: 5}
	if got := parseFlow(&in, boot); got.Peer != "[::]:80" || got.Port != 443 || got.Protocol != "132" || got.Last != boot.Add(5) {
		t.Errorf("%+v", got)
	}
}
