package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A role of this program (servers, tsnet, host) runs as a child process in
// a network namespace.  The runner writes one request per line to its
// standard input and reads one answer per line from its standard output.
// Requests of one child may overlap; answers carry the id of the request.
// A child whose standard input ends leaves.

type rpcRequest struct {
	ID   int
	Op   string
	Args json.RawMessage `json:",omitempty"`
}

type rpcAnswer struct {
	ID     int
	Error  string          `json:",omitempty"`
	Result json.RawMessage `json:",omitempty"`
}

// rpcServe answers the requests read from r until it ends.
func rpcServe(r io.Reader, w io.Writer, do func(op string, args json.RawMessage) (any, error)) error {
	var mu sync.Mutex
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), 16<<20)
	for sc.Scan() {
		var req rpcRequest
		if err := json.Unmarshal(sc.Bytes(), &req); err != nil {
			return fmt.Errorf("bad request: %w", err)
		}
		go func() {
			ans := rpcAnswer{ID: req.ID}
			res, err := do(req.Op, req.Args)
			if err == nil && res != nil {
				ans.Result, err = json.Marshal(res)
			}
			if err != nil {
				ans.Error = err.Error()
			}
			line, _ := json.Marshal(ans)
			mu.Lock()
			defer mu.Unlock()
			w.Write(append(line, '\n'))
		}()
	}
	return sc.Err()
}

// child is the runner's end of one role process.
type child struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser

	mu      sync.Mutex
	nextID  int
	waiting map[int]chan rpcAnswer
	done    chan struct{} // closed when the process ended
}

// startChild runs argv with its diagnostics going to logPath.
func startChild(name, logPath string, argv []string) (*child, error) {
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{name: name, cmd: cmd, in: in, waiting: map[int]chan rpcAnswer{}, done: make(chan struct{})}
	go c.readAnswers(out)
	return c, nil
}

func (c *child) readAnswers(out io.Reader) {
	sc := bufio.NewScanner(out)
	sc.Buffer(make([]byte, 64<<10), 16<<20)
	for sc.Scan() {
		var ans rpcAnswer
		if json.Unmarshal(sc.Bytes(), &ans) != nil {
			continue
		}
		c.mu.Lock()
		ch := c.waiting[ans.ID]
		delete(c.waiting, ans.ID)
		c.mu.Unlock()
		if ch != nil {
			ch <- ans
		}
	}
	c.cmd.Wait()
	close(c.done)
}

// call asks the child for op and decodes its answer into result (or nil).
func (c *child) call(op string, args, result any, timeout time.Duration) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	ch := make(chan rpcAnswer, 1)
	c.mu.Lock()
	c.nextID++
	req := rpcRequest{ID: c.nextID, Op: op, Args: raw}
	c.waiting[req.ID] = ch
	line, _ := json.Marshal(req)
	_, err = c.in.Write(append(line, '\n'))
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %s: the process ended: %w", c.name, op, err)
	}
	select {
	case ans := <-ch:
		if ans.Error != "" {
			return fmt.Errorf("%s: %s: %w", c.name, op, errors.New(ans.Error))
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(ans.Result, result)
	case <-c.done:
		return fmt.Errorf("%s: %s: the process ended", c.name, op)
	case <-time.After(timeout):
		return fmt.Errorf("%s: %s: no answer within %v", c.name, op, timeout)
	}
}

// stop ends the child: first by closing its input, then by signal.
func (c *child) stop() {
	c.in.Close()
	select {
	case <-c.done:
	case <-time.After(3 * time.Second):
		c.cmd.Process.Kill()
		<-c.done
	}
}
