package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc/grpclog"
)

// parse reads flags and takes no other arguments.
func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(0)
		}
		os.Exit(2)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s takes only flags, not %q", flags.Name(), flags.Arg(0))
	}
	return nil
}

// runEtcd serves until SIGTERM or SIGINT. Without fsync by default: what was
// written outlives the process, killed or not, but not the machine.
func runEtcd(args []string) error {
	flags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	dataDir := flags.String("data-dir", "", "where to keep the data (required); may hold that of an earlier run")
	clientURL := flags.String("client-url", "http://127.0.0.1:2379", "what to listen on for clients")
	peerURL := flags.String("peer-url", "http://127.0.0.1:2380", "what to listen on for peers, of which there are none")
	fsync := flags.Bool("fsync", false, "fsync every write")
	logLevel := flags.String("log-level", "warn", "debug, info, warn or error")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *dataDir == "" {
		return errors.New("etcd needs --data-dir")
	}
	client, err := url.Parse(*clientURL)
	if err != nil {
		return err
	}
	peer, err := url.Parse(*peerURL)
	if err != nil {
		return err
	}

	config := embed.NewConfig()
	config.Name = "kubetest"
	config.Dir = *dataDir
	config.ListenClientUrls = []url.URL{*client}
	config.AdvertiseClientUrls = []url.URL{*client}
	config.ListenPeerUrls = []url.URL{*peer}
	config.AdvertisePeerUrls = []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = !*fsync
	config.LogLevel = *logLevel
	config.LogOutputs = []string{"stderr"}
	// Else every request counts as slow, and is logged.
	config.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration
	// It elects itself after one election timeout.
	config.TickMs = 10
	config.ElectionMs = 100

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	ready := server.Server.ReadyNotify()
	for {
		select {
		case <-ready:
			fmt.Println("ready at", *clientURL)
			ready = nil
		case err := <-server.Err():
			return err
		case <-server.Server.StopNotify():
			return errors.New("etcd stopped by itself")
		case <-signals:
			return nil
		}
	}
}

// runCompact compacts at the current revision and returns once the old
// revisions are gone from the store. It prints the revision.
func runCompact(args []string) error {
	flags := flag.NewFlagSet("etcd-compact", flag.ContinueOnError)
	endpoint := flags.String("endpoint", "http://127.0.0.1:2379", "etcd's client URL")
	timeout := flags.Duration("timeout", 30*time.Second, "when to give up")
	if err := parse(flags, args); err != nil {
		return err
	}
	// They warn of connections they give up themselves, and of a revision that
	// is compacted already.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{*endpoint},
		DialTimeout: *timeout,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	// Any read tells the current revision.
	now, err := client.Get(ctx, "compact_rev_key")
	if err != nil {
		return err
	}
	revision := now.Header.Revision
	_, err = client.Compact(ctx, revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return err
	}
	fmt.Println(revision)
	return nil
}
