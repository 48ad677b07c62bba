package installer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ReadyLabel is the node label that the runtime class schedules on, and readyValue is its value.
const (
	ReadyLabel = "shimward.dev/runtime"
	readyValue = "ready"
)

const (
	accountDir     = "/var/run/secrets/kubernetes.io/serviceaccount"
	requestTimeout = 30 * time.Second
	maxResponse    = 16 << 20 // bytes; the largest answer is the node object of a node with many images
)

// api is the apiserver, accessed with a pod's service account. It is implemented here because the
// few requests do not justify client-go, which would treble the size of a binary that is also a
// hook.
type api struct {
	base   string
	token  string // path of the token file, which kubelet renews
	client *http.Client
}

// inCluster finds the apiserver through what kubelet gives every container.
func inCluster(getenv func(string) string) (*api, error) {
	hostname, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if hostname == "" || port == "" {
		return nil, errors.New("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not say where the apiserver is: run it in a pod")
	}
	authority, err := os.ReadFile(filepath.Join(accountDir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read the apiserver's CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s/ca.crt has no certificate", accountDir)
	}
	return &api{
		base:  "https://" + net.JoinHostPort(hostname, port),
		token: filepath.Join(accountDir, "token"),
		client: &http.Client{
			Timeout:   requestTimeout,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
		},
	}, nil
}

// do makes a request and decodes the apiserver's response into answer.
func (a *api) do(ctx context.Context, method, path string, body []byte, answer any) error {
	token, err := os.ReadFile(a.token)
	if err != nil {
		return fmt.Errorf("read the service account's token: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Accept", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := a.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the apiserver: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	if err != nil {
		return fmt.Errorf("read the apiserver's answer: %w", err)
	}
	if len(text) > maxResponse {
		return fmt.Errorf("the apiserver's answer to %s %s has more than %d bytes", method, path, maxResponse)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the apiserver refused %s %s: %s", method, path, refusal(response.Status, text))
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read the apiserver's answer to %s %s: %w", method, path, err)
	}
	return nil
}

// refusal returns the message of a Status, or the HTTP status if there is none.
func refusal(status string, text []byte) string {
	var said struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(text, &said); err != nil || said.Message == "" {
		return status
	}
	return said.Message
}

// node is the part of a node object that is needed here.
type node struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Status struct {
		RuntimeHandlers []runtimeHandler `json:"runtimeHandlers"`
	} `json:"status"`
}

// runtimeHandler is one of containerd's runtimes, as kubelet reports it.
type runtimeHandler struct {
	Name string `json:"name"`
}

func nodePath(name string) string { return "/api/v1/nodes/" + url.PathEscape(name) }

func (a *api) node(ctx context.Context, name string) (node, error) {
	var n node
	return n, a.do(ctx, http.MethodGet, nodePath(name), nil, &n)
}

// label adds ReadyLabel to the node, or removes it.
func (a *api) label(ctx context.Context, name string, ready bool) error {
	labels := map[string]any{ReadyLabel: nil} // null removes, in a merge patch (RFC 7396)
	if ready {
		labels[ReadyLabel] = readyValue
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	var n node
	return a.do(ctx, http.MethodPatch, nodePath(name), patch, &n)
}

// daemonSet is the part of a DaemonSet object that is needed here.
type daemonSet struct {
	Metadata struct {
		Generation int64 `json:"generation"`
	} `json:"metadata"`
	Status struct {
		Observed int64 `json:"observedGeneration"`
		Wanted   int64 `json:"desiredNumberScheduled"`
		Updated  int64 `json:"updatedNumberScheduled"`
		Ready    int64 `json:"numberReady"`
	} `json:"status"`
}

// settled reports whether every node that should have a pod of the set has a ready one of the
// newest generation. It is false until the controller has observed that generation.
func (d daemonSet) settled() bool {
	s := d.Status
	return s.Observed >= d.Metadata.Generation && s.Ready == s.Wanted && s.Updated == s.Wanted
}

func (a *api) daemonSet(ctx context.Context, namespace, name string) (daemonSet, error) {
	var d daemonSet
	path := "/apis/apps/v1/namespaces/" + url.PathEscape(namespace) + "/daemonsets/" + url.PathEscape(name)
	return d, a.do(ctx, http.MethodGet, path, nil, &d)
}

// podList is the part of a page of pods that is needed here.
type podList struct {
	Metadata struct {
		Continue string `json:"continue"`
	} `json:"metadata"`
	Items []pod `json:"items"`
}

type pod struct {
	Metadata struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		RuntimeClassName string `json:"runtimeClassName"`
	} `json:"spec"`
}

// pageSize keeps a response well below maxResponse.
const pageSize = "200"

// podsOf returns the pods of a runtime class that are scheduled on a node and have not ended, as
// NAMESPACE/NAME.
func (a *api) podsOf(ctx context.Context, class string) ([]string, error) {
	var found []string
	query := url.Values{"limit": {pageSize}, "fieldSelector": {"spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"}}
	for {
		var page podList
		if err := a.do(ctx, http.MethodGet, "/api/v1/pods?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, one := range page.Items {
			if one.Spec.RuntimeClassName == class {
				found = append(found, one.Metadata.Namespace+"/"+one.Metadata.Name)
			}
		}
		if page.Metadata.Continue == "" {
			return found, nil
		}
		query.Set("continue", page.Metadata.Continue)
	}
}
