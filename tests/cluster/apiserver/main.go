// Kubetest is a Kubernetes control plane in one static binary, for the cluster
// tests: etcd, kube-apiserver, kube-controller-manager and kubectl, each a
// subcommand that is run as a process of its own.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata"

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

const usage = `usage: kubetest SUBCOMMAND [flag...]

  etcd                 an etcd of one member
  etcd-compact         compacts an etcd at its current revision
  apiserver            kube-apiserver
  controller-manager   kube-controller-manager
  kubectl              kubectl; also when the binary is invoked by that name
  keys                 makes the service account key, a CA and a serving certificate
`

func main() {
	// The subcommands read os.Args, so each is given the one it would have on its own.
	if filepath.Base(os.Args[0]) == "kubectl" {
		runKubectl()
		return
	}
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	name := os.Args[1]
	os.Args = os.Args[1:]
	switch name {
	case "etcd":
		exit(runEtcd(os.Args[1:]))
	case "etcd-compact":
		exit(runCompact(os.Args[1:]))
	case "keys":
		exit(runKeys(os.Args[1:]))
	case "apiserver":
		run("kube-apiserver", apiserver.NewAPIServerCommand())
	case "controller-manager":
		run("kube-controller-manager", controllermanager.NewControllerManagerCommand())
	case "kubectl":
		runKubectl()
	case "help", "-h", "--help":
		fmt.Print(usage)
	default:
		fmt.Fprintf(os.Stderr, "kubetest: no subcommand %q\n\n%s", name, usage)
		os.Exit(2)
	}
}

func run(name string, command *cobra.Command) {
	os.Args[0] = name
	os.Exit(cli.Run(command))
}

func runKubectl() {
	os.Args[0] = "kubectl"
	logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) //nolint:errcheck
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubetest:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
