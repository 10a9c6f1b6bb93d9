// Command engine runs the Go WireGuard engine on a TUN device of its own, for
// the bench to compare with: device, tun and conn as a library, configured by
// one UAPI text.
//
//	engine NAME MTU < configuration
//
// It prints "ready" once the device is up and stays until a signal.
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: engine NAME MTU < configuration")
	}
	mtu, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return fmt.Errorf("MTU %q: %w", os.Args[2], err)
	}
	config, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	t, err := tun.CreateTUN(os.Args[1], mtu)
	if err != nil {
		return fmt.Errorf("TUN device %s: %w", os.Args[1], err)
	}
	d := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "engine: "))
	defer d.Close()
	if err := d.IpcSet(string(config)); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := d.Up(); err != nil {
		return err
	}
	fmt.Println("ready")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	return nil
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
