package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority issues every identity in the cluster. In Kubernetes, a certificate's common name is the
// user and its organizations are the user's groups.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
	address     net.IP // of the machine on which all servers run
}

// identity is a certificate and its key in PEM format.
type identity struct{ certificate, key []byte }

const validity = 24 * time.Hour

func newAuthority(address net.IP) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the certificate authority's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shimward-tests"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(validity),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority back: %w", err)
	}
	return &authority{certificate: certificate, key: key, serial: 1, address: address}, nil
}

// pem returns the authority's certificate, by which others verify what it issued.
func (a *authority) pem() []byte { return encode("CERTIFICATE", a.certificate.Raw) }

// issue creates an identity that is valid for a client and for a server on this machine.
func (a *authority) issue(user string, groups ...string) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("make the key of %s: %w", user, err)
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: user, Organization: groups},
		NotBefore: a.certificate.NotBefore, NotAfter: a.certificate.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), a.address}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return identity{}, fmt.Errorf("make the certificate of %s: %w", user, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return identity{}, fmt.Errorf("encode the key of %s: %w", user, err)
	}
	return identity{certificate: encode("CERTIFICATE", der), key: encode("PRIVATE KEY", private)}, nil
}

// files are the paths to which an identity was written.
type files struct{ certificate, key string }

// issueFiles issues an identity and writes it to files.
func (c *Cluster) issueFiles(name, user string, groups ...string) (files, error) {
	id, err := c.authority.issue(user, groups...)
	if err != nil {
		return files{}, err
	}
	written := files{certificate: c.path("pki", name+".crt"), key: c.path("pki", name+".key")}
	if err := writeFile(written.certificate, id.certificate); err != nil {
		return files{}, err
	}
	return written, writeFile(written.key, id.key)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// writeFile writes a file and creates its directory if needed.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the folder of %s: %w", path, err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
