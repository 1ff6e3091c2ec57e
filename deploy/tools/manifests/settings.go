package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// A row of the tables of settings.
var row = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|")

// settings compares the keys of the page of settings with `config` in the schema of the chart's values.
func settings(arguments []string) error {
	page, err := os.ReadFile(arguments[0])
	if err != nil {
		return err
	}
	text, err := os.ReadFile(arguments[1])
	if err != nil {
		return err
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		return err
	}
	known := map[string]bool{}
	config, _ := properties(schema)["config"].(map[string]any)
	leaves(config, "", known)
	var wrong []error
	rows := row.FindAllStringSubmatch(string(page), -1)
	if len(rows) == 0 {
		wrong = append(wrong, errors.New("the page has no settings: this check has to follow it"))
	}
	documented := map[string]bool{}
	for _, match := range rows {
		documented[match[1]] = true
		if !known[match[1]] {
			wrong = append(wrong, fmt.Errorf("the schema does not know the setting %s", match[1]))
		}
	}
	for key := range known {
		if !documented[key] {
			wrong = append(wrong, fmt.Errorf("the schema knows %s, which is no setting", key))
		}
	}
	return errors.Join(wrong...)
}

func properties(schema map[string]any) map[string]any {
	found, _ := schema["properties"].(map[string]any)
	return found
}

// leaves collects the keys of what holds no other settings.
func leaves(schema map[string]any, prefix string, into map[string]bool) {
	for name, inner := range properties(schema) {
		inner, _ := inner.(map[string]any)
		if key := strings.TrimPrefix(prefix+"."+name, "."); len(properties(inner)) > 0 {
			leaves(inner, key, into)
		} else {
			into[key] = true
		}
	}
}
