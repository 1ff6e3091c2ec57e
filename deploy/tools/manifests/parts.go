package main

import (
	"fmt"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// builtin prints the objects that a cluster without custom resources takes.
func builtin(paths []string) error {
	found, err := documents(paths[0])
	if err != nil {
		return err
	}
	for _, document := range found {
		if strings.HasPrefix(document.object.GetAPIVersion(), monitoring) {
			fmt.Fprintf(os.Stderr, "left out, since the cluster may not know its kind: %s\n", document.name())
			continue
		}
		fmt.Printf("---\n%s", document.text)
	}
	return nil
}

// environment prints the variables of the Deployment's containers, but for those that come from elsewhere.
func environment(paths []string) error {
	found, err := documents(paths[0])
	if err != nil {
		return err
	}
	for _, document := range found {
		if document.object.GetKind() != "Deployment" {
			continue
		}
		var deployment appsv1.Deployment
		if err := yaml.Unmarshal(document.text, &deployment); err != nil {
			return err
		}
		for _, container := range deployment.Spec.Template.Spec.Containers {
			for _, variable := range container.Env {
				if variable.ValueFrom == nil {
					fmt.Printf("%s=%s\n", variable.Name, variable.Value)
				}
			}
		}
	}
	return nil
}
