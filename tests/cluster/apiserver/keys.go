package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// runKeys makes what the API server is started with:
//
//	sa.key, sa.pub                 signs and checks service accounts' tokens
//	ca.crt, ca.key                 a CA of this cluster's own
//	apiserver.crt, apiserver.key   the serving certificate, by that CA
func runKeys(args []string) error {
	flags := flag.NewFlagSet("keys", flag.ContinueOnError)
	dir := flags.String("dir", "", "where to write them (required); made if it isn't there")
	sans := flags.String("san", "", "addresses and names to certify, comma-separated, besides 127.0.0.1, ::1, localhost and kubernetes.default.svc")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("keys needs --dir")
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}

	serviceAccount, err := newKey(*dir, "sa.key")
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(serviceAccount.Public())
	if err != nil {
		return err
	}
	if err := write(*dir, "sa.pub", "PUBLIC KEY", public); err != nil {
		return err
	}

	caKey, err := newKey(*dir, "ca.key")
	if err != nil {
		return err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "kubetest CA"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if err := sign(*dir, "ca.crt", ca, ca, caKey, caKey); err != nil {
		return err
	}

	servingKey, err := newKey(*dir, "apiserver.key")
	if err != nil {
		return err
	}
	serving := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano() + 1),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    ca.NotBefore,
		NotAfter:     ca.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	names := "127.0.0.1,::1,localhost,kubernetes,kubernetes.default,kubernetes.default.svc," + *sans
	for _, name := range strings.Split(names, ",") {
		if ip := net.ParseIP(name); ip != nil {
			serving.IPAddresses = append(serving.IPAddresses, ip)
		} else if name != "" {
			serving.DNSNames = append(serving.DNSNames, name)
		}
	}
	return sign(*dir, "apiserver.crt", serving, ca, servingKey, caKey)
}

func newKey(dir, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, write(dir, name, "PRIVATE KEY", der)
}

func sign(dir, name string, certificate, parent *x509.Certificate, subject, signer *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, subject.Public(), signer)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return write(dir, name, "CERTIFICATE", der)
}

func write(dir, name, kind string, der []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(dir, name), text, 0o600)
}
