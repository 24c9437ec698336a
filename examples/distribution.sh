#!/bin/bash
# The guide's distribution script: 30 requests, and how many each pod answered. With 15 pods, 2 for each.
# Use: examples/distribution.sh [ADDRESS], by default http://127.0.0.1:8080

ADDRESS="${1:-http://127.0.0.1:8080}"

# Function to get pod name from response
get_pod_name() {
  curl -s -H "Host: nginx-test.local" "$ADDRESS" | \
    grep -o "nginx-test-[^<]*" | head -1
}

# Send 30 requests and count which pods receive them
declare -A pod_counts
for i in {1..30}; do
  pod=$(get_pod_name)
  ((pod_counts[$pod]++))
  echo "Request $i: $pod"
done

# Print distribution
echo ""
echo "Distribution Summary:"
for pod in "${!pod_counts[@]}"; do
  echo "  $pod: ${pod_counts[$pod]} requests"
done
