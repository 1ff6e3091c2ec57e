package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The rights that the agent's own source names: see its module `preflight`.
var (
	tables  = regexp.MustCompile(`(?s)const (REQUIRED|OPTIONAL|MANY|ISOLATION_REQUIRED|ISOLATION): [^=]*=\s*&\[(.*?)\];`)
	several = regexp.MustCompile(`\("([a-z/]+)", &\[([^\]]*)\]\)`)
	one     = regexp.MustCompile(`\((ANCHORS|"[a-z/]+"), "([a-z]+)", Scope::([A-Za-z]+)`)
	anchors = regexp.MustCompile(`const ANCHORS: &str = "([a-z]+)"`)
	words   = regexp.MustCompile(`"([a-z]+)"`)
)

// Where rights are needed.
const (
	steps   = "the steps' namespaces"
	system  = "the namespace kube-system"
	cluster = "the cluster"
)

// A right, and where.
type right struct{ resource, verb, place string }

func (r right) String() string { return fmt.Sprintf("%s %s in %s", r.verb, r.resource, r.place) }

// rights compares what the roles of each rendering allow with what the agent asks for.
func rights(arguments []string) error {
	source, err := os.ReadFile(arguments[0])
	if err != nil {
		return err
	}
	asked, err := asked(string(source))
	if err != nil {
		return err
	}
	var wrong []error
	for _, path := range arguments[1:] {
		found, err := documents(path)
		if err != nil {
			return err
		}
		if err := compare(asked, found); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", path, err))
		}
	}
	return errors.Join(wrong...)
}

// asked reads the tables of the source.
func asked(source string) (map[string][]right, error) {
	anchor := anchors.FindStringSubmatch(source)
	found := map[string][]right{}
	for _, table := range tables.FindAllStringSubmatch(source, -1) {
		name, body := table[1], table[2]
		for _, match := range several.FindAllStringSubmatch(body, -1) {
			for _, verb := range words.FindAllStringSubmatch(match[2], -1) {
				found[name] = append(found[name], right{match[1], verb[1], steps})
			}
		}
		for _, match := range one.FindAllStringSubmatch(body, -1) {
			resource := strings.Trim(match[1], `"`)
			if resource == "ANCHORS" && anchor != nil {
				resource = anchor[1]
			}
			place := map[string]string{"Workflows": steps, "Namespace": system, "Cluster": cluster}[match[3]]
			if place == "" {
				return nil, fmt.Errorf("the scope %s is not known: this check has to follow the agent's source", match[3])
			}
			found[name] = append(found[name], right{resource, match[2], place})
		}
	}
	for _, name := range []string{"REQUIRED", "OPTIONAL", "MANY", "ISOLATION_REQUIRED", "ISOLATION"} {
		if len(found[name]) == 0 {
			return nil, fmt.Errorf("the table %s was not found in the agent's source: this check has to follow it", name)
		}
	}
	return found, nil
}

// isolates says whether the agent's configuration asks for a policy for each workflow.
func isolates(found []document) (bool, error) {
	for _, document := range found {
		if document.object.GetKind() != "ConfigMap" {
			continue
		}
		data, _, err := unstructured.NestedStringMap(document.object.Object, "data")
		if err != nil {
			return false, err
		}
		var config struct {
			Pods struct {
				Policy struct{ Mode string } `json:"network_policy"`
			}
		}
		if err := yaml.Unmarshal([]byte(data["piculet.yaml"]), &config); err != nil {
			return false, err
		}
		if config.Pods.Policy.Mode == "isolated" {
			return true, nil
		}
	}
	return false, nil
}

// eachRight prints every right of every role: the role's component, resource and verb.
func eachRight(paths []string) error {
	found, err := documents(paths[0])
	if err != nil {
		return err
	}
	return eachRole(found, func(_, component string, role rbacv1.Role) error {
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					fmt.Println(component, resource, verb)
				}
			}
		}
		return nil
	})
}

func eachRole(found []document, do func(kind, component string, role rbacv1.Role) error) error {
	for _, document := range found {
		kind := document.object.GetKind()
		if kind != "Role" && kind != "ClusterRole" {
			continue
		}
		var role rbacv1.Role
		if err := yaml.Unmarshal(document.text, &role); err != nil {
			return err
		}
		if err := do(kind, role.Labels["app.kubernetes.io/component"], role); err != nil {
			return err
		}
	}
	return nil
}

func compare(asked map[string][]right, found []document) error {
	allowed := map[right]bool{}
	hasClusterReads, isForMany := false, false
	err := eachRole(found, func(kind, component string, role rbacv1.Role) error {
		// Those of `piculet reap` are the business of another account; deploy/without-a-right shows what each is for.
		if component == "reap" || component == "retire" {
			return nil
		}
		hasClusterReads = hasClusterReads || component == "cluster-reads"
		isForMany = isForMany || (kind == "ClusterRole" && component == "steps")
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					place := steps
					switch {
					case len(rule.ResourceNames) > 0 && strings.Join(rule.ResourceNames, " ") == "kube-system":
						place = system
					case len(rule.ResourceNames) > 0:
						return fmt.Errorf("%s: rights on %v, which nobody asks for", role.Name, rule.ResourceNames)
					case resource == "namespaces" || resource == "nodes":
						place = cluster
					}
					allowed[right{resource, verb, place}] = true
				}
			}
			group := map[bool]string{true: "networking.k8s.io"}[strings.Join(rule.Resources, " ") == "networkpolicies"]
			if strings.Join(rule.APIGroups, " ") != group {
				return fmt.Errorf("%s: rights on %v in the group %v", role.Name, rule.Resources, rule.APIGroups)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(allowed) == 0 {
		return nil
	}
	wanted := map[right]bool{}
	for _, right := range append(asked["REQUIRED"], asked["OPTIONAL"]...) {
		if right.place == steps || hasClusterReads {
			wanted[right] = true
		}
	}
	if isForMany {
		for _, right := range asked["MANY"] {
			wanted[right] = true
		}
	}
	isolates, err := isolates(found)
	if err != nil {
		return err
	}
	if isolates {
		for _, right := range append(asked["ISOLATION_REQUIRED"], asked["ISOLATION"]...) {
			wanted[right] = true
		}
	}
	var wrong []string
	for right := range wanted {
		if !allowed[right] {
			wrong = append(wrong, fmt.Sprintf("the agent asks for %s, and no role allows it", right))
		}
	}
	for right := range allowed {
		if !wanted[right] {
			wrong = append(wrong, fmt.Sprintf("a role allows %s, which the agent does not ask for", right))
		}
	}
	sort.Strings(wrong)
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}
