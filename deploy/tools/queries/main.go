// Command queries looks whether alerts and dashboards ask for metrics and labels that the agent has.
//
//	queries METRICS FILE...
//
// METRICS is what the agent's /metrics said. A FILE holds rules (.yaml) or a dashboard (.json).
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

const prefix = "piculet_"

// Labels that whoever scrapes adds, and those of `up`.
var ofTheScrape = map[string]bool{"job": true, "namespace": true, "pod": true, "instance": true, "__name__": true}

var (
	kind   = regexp.MustCompile(`^# TYPE (\S+) (\S+)$`)
	sample = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*?)\})? `)
	pair   = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="`)
	// The choices of a variable of Grafana.
	choice = regexp.MustCompile(`^label_values\((.*), *([a-zA-Z_]+)\)$`)
	// A variable of Grafana as a range.
	interval = regexp.MustCompile(`\[\$__[a-z_]+\]`)
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "queries METRICS FILE...")
		os.Exit(64)
	}
	if err := look(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func look(metrics string, paths []string) error {
	exported, err := read(metrics)
	if err != nil {
		return err
	}
	var wrong []error
	for _, path := range paths {
		expressions, err := expressions(path)
		if err != nil {
			return err
		}
		if len(expressions) == 0 {
			wrong = append(wrong, fmt.Errorf("%s: it asks for nothing", path))
		}
		for _, expression := range expressions {
			if err := exported.answers(expression); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %s: %w", path, expression, err))
			}
		}
		fmt.Printf("%s: %d expressions\n", path, len(expressions))
	}
	return errors.Join(wrong...)
}

// metrics are names of samples, and the labels that were seen. A family of which nothing was counted yet is not on the page.
type metrics map[string]map[string]bool

func read(path string) (metrics, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	suffixes := map[string][]string{
		"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_sum", "_count"},
	}
	found := metrics{}
	for _, line := range strings.Split(string(text), "\n") {
		if match := kind.FindStringSubmatch(line); match != nil {
			for _, suffix := range suffixes[match[2]] {
				if name := match[1] + suffix; found[name] == nil {
					found[name] = map[string]bool{}
				}
			}
		} else if match := sample.FindStringSubmatch(line); match != nil {
			if found[match[1]] == nil {
				return nil, fmt.Errorf("%s: the sample %s belongs to no family", path, match[1])
			}
			for _, label := range pair.FindAllStringSubmatch(match[2], -1) {
				found[match[1]][label[1]] = true
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: there are no metrics in it", path)
	}
	return found, nil
}

func (m metrics) answers(expression string) error {
	// Any range does here.
	plain := interval.ReplaceAllString(expression, "[5m]")
	plain = strings.NewReplacer("$__range", "5m", "$__rate_interval", "5m").Replace(plain)
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(plain)
	if err != nil {
		return err
	}
	var wrong []error
	grouped, seen := map[string]bool{}, map[string]bool{}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if aggregation, is := node.(*parser.AggregateExpr); is {
			for _, label := range aggregation.Grouping {
				grouped[label] = true
			}
		}
		selector, is := node.(*parser.VectorSelector)
		if !is {
			return nil
		}
		if selector.Name != "up" && (!strings.HasPrefix(selector.Name, prefix) || m[selector.Name] == nil) {
			wrong = append(wrong, fmt.Errorf("the agent has no metric '%s'", selector.Name))
			return nil
		}
		for label := range m[selector.Name] {
			seen[label] = true
		}
		for _, matcher := range selector.LabelMatchers {
			wrong = append(wrong, unknown(matcher, m[selector.Name])...)
		}
		return nil
	})
	for label := range grouped {
		if !seen[label] && !ofTheScrape[label] {
			wrong = append(wrong, fmt.Errorf("no metric has the label '%s'", label))
		}
	}
	return errors.Join(wrong...)
}

func unknown(matcher *labels.Matcher, known map[string]bool) []error {
	if known[matcher.Name] || ofTheScrape[matcher.Name] {
		return nil
	}
	return []error{fmt.Errorf("the metric has no label '%s'", matcher.Name)}
}

// expressions collects every value of a field `expr`, and what the choices of a dashboard are made of.
func expressions(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var content any
	if strings.HasSuffix(path, ".json") {
		err = json.Unmarshal(text, &content)
	} else {
		err = yaml.UnmarshalStrict(text, &content)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return collect(content), nil
}

func collect(content any) []string {
	var found []string
	switch content := content.(type) {
	case map[string]any:
		for name, value := range content {
			text, _ := value.(string)
			if choices := choice.FindStringSubmatch(text); choices != nil {
				found = append(found, fmt.Sprintf("sum by (%s) (%s)", choices[2], choices[1]))
			} else if text != "" && name == "expr" {
				found = append(found, text)
			} else {
				found = append(found, collect(value)...)
			}
		}
	case []any:
		for _, value := range content {
			found = append(found, collect(value)...)
		}
	}
	return found
}
