"""How good the recommendations are: upnext as it comes, and known methods, on the same split of real data.

python -m benchmarks.quality --dataset amazon-beauty --data DIR --json beauty.json
"""
