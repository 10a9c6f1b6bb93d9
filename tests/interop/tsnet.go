package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/netip"
	"os"
	"time"

	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
)

// tsnetMain is a peer made of the reference library.
func tsnetMain(args []string) error {
	srv := &tsnet.Server{Logf: log.Printf, UserLogf: log.Printf}
	fs := flag.NewFlagSet("tsnet", flag.ExitOnError)
	fs.StringVar(&srv.ControlURL, "control", "", "control server URL")
	fs.StringVar(&srv.Hostname, "hostname", "", "host name")
	fs.StringVar(&srv.Dir, "dir", "", "state directory")
	fs.StringVar(&srv.AuthKey, "auth-key", "", "auth key")
	port := fs.Uint("port", 0, "UDP port (0: any)")
	fs.Parse(args)
	srv.Port = uint16(*port)

	e := &end{dial: srv.Dial, listen: func(network, addr string) (net.Listener, error) {
		return srv.Listen(network, addr)
	}, listenPacket: srv.ListenPacket}
	return rpcServe(os.Stdin, os.Stdout, func(op string, raw json.RawMessage) (any, error) {
		a, err := decodeArgs(raw)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), max(a.Timeout, time.Second))
		defer cancel()
		switch op {
		case "up":
			return srv.Up(ctx)
		case "status":
			lc, err := srv.LocalClient()
			if err != nil {
				return nil, err
			}
			return lc.Status(ctx)
		case "await-direct":
			return awaitDirect(ctx, srv, a.Addr)
		case "ping-tsmp":
			return pingTSMP(ctx, srv, a.Addr)
		}
		return e.do(op, a)
	})
}

// pingTSMP asks the other node itself, by a message inside the tunnel.
func pingTSMP(ctx context.Context, srv *tsnet.Server, addr string) (*ipnstate.PingResult, error) {
	lc, err := srv.LocalClient()
	if err != nil {
		return nil, err
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	return lc.Ping(ctx, ip, tailcfg.PingTSMP)
}

// awaitDirect returns the moment at which the path to addr was seen direct.
func awaitDirect(ctx context.Context, srv *tsnet.Server, addr string) (int64, error) {
	lc, err := srv.LocalClient()
	if err != nil {
		return 0, err
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return 0, err
	}
	for {
		st, err := lc.Status(ctx)
		if err != nil {
			return 0, err
		}
		if p := findPeer(st, ip); p != nil && p.CurAddr != "" {
			return time.Now().UnixNano(), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pollStep):
		}
	}
}

func findPeer(st *ipnstate.Status, ip netip.Addr) *ipnstate.PeerStatus {
	for _, p := range st.Peer {
		for _, a := range p.TailscaleIPs {
			if a == ip {
				return p
			}
		}
	}
	return nil
}
