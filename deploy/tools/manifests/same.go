package main

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"sort"

	"sigs.k8s.io/yaml"
)

// What Helm alone says of an object.
var labelsOfHelm = []string{"helm.sh/chart", "app.kubernetes.io/managed-by"}

// The annotation by which a changed configuration replaces the chart's pods. Kustomize has a hash in the ConfigMap's name.
const checksum = "checksum/config"

// What kustomize appends to the name of a generated ConfigMap.
var hash = regexp.MustCompile(`^(piculet-config)-[0-9a-z]{10}$`)

// same tells how the objects of two files differ, but for what Helm or kustomize adds.
func same(paths []string) error {
	sides := make([]map[string]any, 2)
	names := map[string]bool{}
	for i := range sides {
		found, err := documents(paths[i])
		if err != nil {
			return err
		}
		sides[i] = map[string]any{}
		for _, document := range found {
			document.object.Object = neutral(document.object.Object)
			name := document.name()
			sides[i][name], names[name] = document.object.Object, true
		}
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	var wrong []error
	for _, name := range sorted {
		left, right := sides[0][name], sides[1][name]
		switch {
		case left == nil:
			wrong = append(wrong, fmt.Errorf("%s is in %s alone", name, paths[1]))
		case right == nil:
			wrong = append(wrong, fmt.Errorf("%s is in %s alone", name, paths[0]))
		case !reflect.DeepEqual(left, right):
			a, _ := yaml.Marshal(left)
			b, _ := yaml.Marshal(right)
			wrong = append(wrong, fmt.Errorf("%s differs:\n--- %s\n%s+++ %s\n%s", name, paths[0], a, paths[1], b))
		}
	}
	return errors.Join(wrong...)
}

// neutral takes away, at any depth, what one of the two tools adds.
func neutral(fields map[string]any) map[string]any {
	kept := map[string]any{}
	for name, value := range fields {
		switch {
		case name == checksum, name == labelsOfHelm[0], name == labelsOfHelm[1]:
			continue
		default:
			value = neutralValue(value)
		}
		if inner, is := value.(map[string]any); is && name == "annotations" && len(inner) == 0 {
			continue
		}
		kept[name] = value
	}
	return kept
}

func neutralValue(value any) any {
	switch value := value.(type) {
	case map[string]any:
		return neutral(value)
	case []any:
		kept := make([]any, len(value))
		for i, inner := range value {
			kept[i] = neutralValue(inner)
		}
		return kept
	case string:
		return hash.ReplaceAllString(value, "$1")
	default:
		return value
	}
}
