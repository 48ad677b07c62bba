package node

import (
	"bytes"
	"path/filepath"
	"sync"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
)

// output collects what a process writes.
type output struct {
	stdout, stderr collected
}

func (o *output) creator(n *Node) cio.Creator {
	return cio.NewCreator(cio.WithStreams(nil, &o.stdout, &o.stderr), cio.WithFIFODir(filepath.Join(n.Dir, "fifo")))
}

func (o *output) result(status containerd.ExitStatus) (Result, error) {
	code, _, err := status.Result()
	return Result{Code: int(code), Stdout: o.stdout.String(), Stderr: o.stderr.String()}, err
}

// collected is a buffer that can be read and waited on while it is being written.
type collected struct {
	mu      sync.Mutex
	buf     bytes.Buffer             // guarded by mu
	waiting map[string]chan struct{} // guarded by mu
}

func (c *collected) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Write(p)
	for text, found := range c.waiting {
		if bytes.Contains(c.buf.Bytes(), []byte(text)) {
			close(found)
			delete(c.waiting, text)
		}
	}
	return len(p), nil
}

func (c *collected) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

// watch returns a channel that is closed once text has been written.
func (c *collected) watch(text string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := make(chan struct{})
	if bytes.Contains(c.buf.Bytes(), []byte(text)) {
		close(found)
		return found
	}
	if earlier, ok := c.waiting[text]; ok {
		return earlier
	}
	if c.waiting == nil {
		c.waiting = map[string]chan struct{}{}
	}
	c.waiting[text] = found
	return found
}
