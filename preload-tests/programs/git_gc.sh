# Packs, a graph of commits and a multi-pack index, all read through mappings.
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='@1000000000 +0000' GIT_COMMITTER_DATE='@1000000000 +0000'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a
git init -q -b main r && cd r
git config pack.threads 1
for i in $(seq 1 25); do
    seq $i $((i * 300)) >f$((i % 5)) && git add . && git commit -q -m "commit $i"
    [ $((i % 8)) -ne 0 ] || git repack -q -d
done
git multi-pack-index write --no-progress && code git multi-pack-index verify --no-progress
git branch -q gone && git checkout -q gone && seq 9999 >g && git add . && git commit -q -m gone
git checkout -q main && git branch -q -D gone && git reflog expire --expire=now --all
code git gc -q --aggressive --prune=now
git commit-graph write --reachable --no-progress && code git commit-graph verify --no-progress
code git fsck --full --strict
git count-objects -v | grep -v size
git rev-list --objects --all | sort | sha256sum
git log --format=%H | sha256sum
