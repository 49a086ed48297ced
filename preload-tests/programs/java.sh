# Mappings over 3 GiB of a sparse file.
cat >Big.java <<'JAVA'
import java.nio.*; import java.nio.channels.*; import java.nio.file.*;
import static java.nio.file.StandardOpenOption.*;
public class Big {
    public static void main(String[] a) throws Exception {
        long half = 3L << 29;
        try (FileChannel c = FileChannel.open(Path.of("f"), CREATE, READ, WRITE)) {
            MappedByteBuffer[] m = { c.map(FileChannel.MapMode.READ_WRITE, 0, half), c.map(FileChannel.MapMode.READ_WRITE, half, half) };
            long sum = 0;
            for (int i = 0; i < 1500; i++) {
                int at = (int) (i * 1048583L % (half - 8));
                m[i % 2].putLong(at, i * 31L);
                if (i % 100 == 0) m[i % 2].force(at, 8);
            }
            m[0].force(); m[1].force();
            ByteBuffer b = ByteBuffer.allocate(8);
            for (int i = 0; i < 1500; i++) {
                long at = i * 1048583L % (half - 8) + (i % 2) * half;
                b.clear(); c.read(b, at); sum += b.getLong(0) - i * 31L;
            }
            System.out.println(c.size() + " " + sum);
        }
    }
}
JAVA
javac -J-XX:TieredStopAtLevel=1 Big.java
code java -XX:TieredStopAtLevel=1 -Xmx128m -cp . Big
