package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"testing"
)

// TestAuthority checks that an issued identity is accepted as a user with groups by a server and as
// a server on this machine by a client, and by nobody who trusts a different authority.
func TestAuthority(t *testing.T) {
	address := net.IPv4(192, 0, 2, 7)
	ours, err := newAuthority(address)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := newAuthority(address)
	if err != nil {
		t.Fatal(err)
	}
	id, err := ours.issue("system:node:node", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(id.certificate, id.key)
	if err != nil {
		t.Fatal(err)
	}
	if s := pair.Leaf.Subject; s.CommonName != "system:node:node" || !slices.Equal(s.Organization, []string{"system:nodes"}) {
		t.Errorf("the user is %v", s)
	}
	for _, test := range []struct {
		name      string
		authority *authority
		host      string
		usage     x509.ExtKeyUsage
		good      bool
	}{
		{"a client", ours, "", x509.ExtKeyUsageClientAuth, true},
		{"a server on the loopback", ours, "127.0.0.1", x509.ExtKeyUsageServerAuth, true},
		{"a server on the node's address", ours, address.String(), x509.ExtKeyUsageServerAuth, true},
		{"a server elsewhere", ours, "192.0.2.8", x509.ExtKeyUsageServerAuth, false},
		{"somebody else's", theirs, "", x509.ExtKeyUsageClientAuth, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM(test.authority.pem()) {
				t.Fatal("the authority's own certificate cannot be read")
			}
			_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: test.host, KeyUsages: []x509.ExtKeyUsage{test.usage}})
			if (err == nil) != test.good {
				t.Errorf("verified: %v, want it good: %t", err, test.good)
			}
		})
	}
}
