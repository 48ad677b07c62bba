package cluster

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	api "k8s.io/client-go/tools/clientcmd/api"
)

const mastersGroup = "system:masters"

// kubeconfig writes a kubeconfig with which user reaches the apiserver, and returns the file's
// path.
func (c *Cluster) kubeconfig(name, user string, groups ...string) (string, error) {
	id, err := c.authority.issue(user, groups...)
	if err != nil {
		return "", err
	}
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: c.server(), CertificateAuthorityData: c.authority.pem()}
	config.AuthInfos[name] = &api.AuthInfo{ClientCertificateData: id.certificate, ClientKeyData: id.key}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	path := c.path("kubeconfig", name)
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return path, nil
}

// connect creates the administrator's client and waits until the apiserver answers it.
func (c *Cluster) connect(ctx context.Context) error {
	path, err := c.kubeconfig("admin", "admin", mastersGroup)
	if err != nil {
		return err
	}
	if c.admin, err = clientcmd.BuildConfigFromFlags("", path); err != nil {
		return fmt.Errorf("read the administrator's kubeconfig: %w", err)
	}
	c.admin.QPS = -1 // no limit: with the client's default one, the tests would mostly wait
	if c.Client, err = kubernetes.NewForConfig(c.admin); err != nil {
		return fmt.Errorf("make the administrator's client: %w", err)
	}
	return c.until(ctx, "the apiserver", func(ctx context.Context) error {
		return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// As returns a client that impersonates another user.
func (c *Cluster) As(user string, groups ...string) (kubernetes.Interface, error) {
	config := rest.CopyConfig(c.admin)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of %s: %w", user, err)
	}
	return client, nil
}

// WithToken returns a client that authenticates with token.
func (c *Cluster) WithToken(token string) (kubernetes.Interface, error) {
	config := rest.AnonymousClientConfig(c.admin)
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client with a token: %w", err)
	}
	return client, nil
}
