package peers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// hosts are the registries that the suites pull from. In a room they all are
// this one, which has images of those names that are made of busybox.
func hosts() []string {
	return []string{"ghcr.io", "registry.k8s.io", "k8s.gcr.io", "gcr.io", "docker.io", "registry-1.docker.io"}
}

// serveImages starts the registry and fills it. It ends with ctx.
func (r *room) serveImages(ctx context.Context) error {
	certificate, err := r.certificate()
	if err != nil {
		return fmt.Errorf("make the registry's certificate: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:443")
	if err != nil {
		return fmt.Errorf("start the registry: %w", err)
	}
	server := &http.Server{
		Handler:           registry.New(registry.Logger(log.New(io.Discard, "", 0))), //nolint:forbidigo // it takes no other logger
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.ServeTLS(listener, "", "") }()

	trusted := x509.NewCertPool()
	trusted.AddCert(certificate.Leaf)
	to := remote.WithTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}})
	images, err := r.images()
	if err != nil {
		return err
	}
	for tag, image := range images {
		if err := remote.WriteIndex(tag, image, to, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("fill the registry: %w", err)
		}
	}
	return nil
}

// certificate is one that the room's processes trust (SSL_CERT_FILE), for every host.
func (r *room) certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry of the peers' tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		DNSNames: hosts(),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	if err := os.WriteFile(filepath.Join(r.dir, "registry.pem"), text, 0o600); err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}, nil
}
