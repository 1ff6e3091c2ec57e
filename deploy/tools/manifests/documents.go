package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// document is one object of a file.
type document struct {
	text   []byte
	object unstructured.Unstructured
}

func (d document) name() string {
	return fmt.Sprintf("%s %s/%s", d.object.GetKind(), d.object.GetNamespace(), d.object.GetName())
}

// documents reads the objects of a file; those that are empty are none.
func documents(path string) ([]document, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found []document
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		part, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		// A key that stands there twice is an error, too.
		var fields map[string]any
		if err := yaml.UnmarshalStrict(part, &fields); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(fields) > 0 {
			found = append(found, document{part, unstructured.Unstructured{Object: fields}})
		}
	}
}
